"""Stems: from images or token ids to the first vectors of an encoder, and where they are."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import INITS, Dense
from jaxemb.layers.norms import LayerNorm, normalise
from jaxemb.nn.base import Stem
from jaxemb.ops.rows import looked_up


class Patches(Stem):
    """Square patches, flattened (row, column, channel) and projected: a convolution whose stride is its kernel, as one matmul.

    Parameters: `proj/kernel` (size size c, d), `proj/bias` (d); with norm="dual" also `norm_before` (size size c) and `norm_after`
    (d), `scale` and `bias` each; `mask_token` (d). Positions are (row, column) of the patch.
    """

    size: int = 16
    """Pixels along the side of a patch."""
    kernel_init: str = "normal"
    norm: Literal["patch", "dual"] | None = None
    """What TrAct is compared with. "patch": every patch has mean 0 and deviation 1 (PatchNorm); "dual": a LayerNorm before and one
    after the projection (DualPatchNorm, Kumar et al. 2023). The eps of 1e-6 is our choice."""
    bias: bool = True
    channels: Literal["last", "first"] = "last"
    """Where they stand in a flattened patch: "first" as in the weights of PyTorch's convolutions, (channel, row, column)."""
    leave_rest: bool = False
    """Pixels on the right and below that fill no patch are left out, as by a convolution; False: such images are refused."""
    mask_token: bool = False
    """A learned vector that stands for the patches whose `types` are 1, as in DINOv2: positions are added to it as to others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, norm=(None, "patch", "dual"), kernel_init=INITS, channels=("last", "first"))
        if self.size < 1:
            raise ConfigError(f"Patches.size must be at least 1, is {self.size}")

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "b ..."],
        *,
        width: int,
        keep: Int[Array, "b k"] | None = None,
        types: Int[Array, "b n"] | None = None,
        dtype: str = "float32",
    ) -> Float[Array, "b k d"]:
        if types is not None and not self.mask_token:
            raise ConfigError("types of patches say which are masked (1), and Patches(mask_token=False) has no vector for these")
        patches = self.cut(inputs)
        if keep is not None:  # gathering pixels first: what is masked costs nothing from here on
            patches = jnp.take_along_axis(patches, keep[:, :, None], axis=1)
        tokens = self._project(patches.astype(dtype), width)
        if self.mask_token:
            token = self.param("mask_token", INITS["normal"], (width,), jnp.float32).astype(tokens.dtype)
            if types is not None:
                types = types if keep is None else jnp.take_along_axis(types, keep, axis=1)
                tokens = jnp.where(types[:, :, None] == 1, token[None, None], tokens)
        return tokens

    def _project(self, patches: Float[Array, "b n p"], width: int) -> Float[Array, "b n d"]:
        if self.norm == "patch":
            patches = normalise(patches, 1e-6).astype(patches.dtype)
        if self.norm == "dual":
            patches = LayerNorm(name="norm_before")(patches)
        tokens = Dense(width, self.bias, name="proj", kernel_init=self.kernel_init)(patches)
        return LayerNorm(name="norm_after")(tokens) if self.norm == "dual" else tokens

    def positions(self, inputs: Array, keep: Int[Array, "b k"] | None = None) -> Int[Array, "#b n 2"]:
        rows, columns = self.grid(inputs.shape[1:])
        return patch_positions(jnp.arange(rows * columns)[None] if keep is None else keep, columns)

    def cut(self, inputs: Float[Array, "b H W c"]) -> Float[Array, "b n p"]:
        """The patches of the inputs, flattened."""
        self.grid(inputs.shape[1:])
        return patchify(inputs, self.size, self.channels)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of patches of an image of this height and width."""
        height, width = shape[:2]
        if (height % self.size or width % self.size) and not (self.leave_rest and min(height, width) >= self.size):
            raise ConfigError(f"Patches(size={self.size}) does not divide an image of {height} x {width} pixels")
        return height // self.size, width // self.size

    def picture(self, inputs: Array) -> Array:
        return inputs


class CutPatches(Patches):
    """Patches that were cut before, b n p, padded at the end: images of several sizes in one batch, as in SigLIP 2.

    They do not say where they are: pass pos=own_grids(shapes, n), and `allow` says which are padding. Of images it is `Patches`,
    whose parameters it has.
    """

    def cut(self, inputs: Float[Array, "b ..."]) -> Float[Array, "b n p"]:
        return inputs if inputs.ndim == 3 else super().cut(inputs)

    def positions(self, inputs: Array, keep: Int[Array, "b k"] | None = None) -> Int[Array, "#b n 2"]:
        if inputs.ndim == 3:
            raise ConfigError("patches that were cut before need their positions: pass pos=own_grids(shapes, n)")
        return super().positions(inputs, keep)

    def grid(self, shape: tuple[int, ...]) -> Any:
        return None if len(shape) == 2 else super().grid(shape)

    def picture(self, inputs: Array) -> Array | None:
        return None if inputs.ndim == 3 else inputs


class Tokens(Stem):
    """Looks up the vectors of token ids; positions count from 0.

    Parameters: `embedding` (v, d), with `types` also `type_embedding` (types, d).
    """

    vocabulary: int = 256
    """Number of ids; an id outside, a negative one too, gives NaN, not another row."""
    types: int = 0
    """Kinds of tokens, such as BERT's two sentences; each has a vector that is added. 0: none."""
    std: float = 0.02
    """Spread of the tables at the start. Beside sine-cosine positions, whose entries are about .7, it should be near 1."""
    scale: float | None = None
    """Of the rows, before anything is added: sqrt(d) in Gemma."""
    pad: int | None = None
    """Positions count the tokens that are not this id, as in RoBERTa; those that are stand at -1. None: they count all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary < 1 or self.types < 0:
            raise ConfigError(f"Tokens needs vocabulary >= 1 and types >= 0, not {self.vocabulary} and {self.types}")

    @nn.compact
    def __call__(
        self,
        inputs: Int[Array, "b n"],
        *,
        width: int,
        keep: Int[Array, "b k"] | None = None,
        types: Int[Array, "b n"] | None = None,
        dtype: str = "float32",
    ) -> Float[Array, "b k d"]:
        if types is not None and not self.types:
            raise ConfigError("types were given, and Tokens.types=0 has no vectors for them: set it to their number")
        tokens = looked_up(self._rows("embedding", self.vocabulary, width, inputs, keep).astype(dtype))
        if self.scale is not None:
            tokens = tokens * jnp.asarray(self.scale, tokens.dtype)
        if self.types:
            kinds = jnp.zeros_like(inputs) if types is None else types
            tokens = tokens + self._rows("type_embedding", self.types, width, kinds, keep).astype(dtype)
        return tokens

    def _rows(self, name: str, count: int, width: int, ids: Array, keep: Array | None) -> Float[Array, "b k d"]:
        table = self.param(name, nn.initializers.normal(self.std), (count, width), jnp.float32)
        ids = ids if keep is None else jnp.take_along_axis(ids, keep, axis=1)
        ids = jnp.where(ids < 0, count, ids)  # JAX counts negative numbers from the end
        return jnp.take(table, ids, axis=0, mode="fill", fill_value=jnp.nan)

    def positions(self, inputs: Array, keep: Int[Array, "b k"] | None = None) -> Int[Array, "#b k 1"]:
        if self.pad is None:
            return (jnp.arange(inputs.shape[1])[None] if keep is None else keep)[:, :, None]
        real = inputs != self.pad
        place = jnp.where(real, jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, -1)
        return (place if keep is None else jnp.take_along_axis(place, keep, axis=1))[:, :, None]

    def grid(self, shape: tuple[int, ...]) -> tuple[int]:
        return (shape[0],)


def patchify(images: Float[Array, "b H W c"], size: int, channels: str = "last") -> Float[Array, "b n p"]:
    """Cuts images into patches, row by row; a patch is flattened as (row, column, channel), or with the channels first.
    Pixels on the right and below that fill no patch are left out."""
    b, height, width, c = images.shape
    images = images[:, : height // size * size, : width // size * size]
    cut = images.reshape(b, height // size, size, width // size, size, c)
    order = (0, 1, 3, 2, 4, 5) if channels == "last" else (0, 1, 3, 5, 2, 4)
    return cut.transpose(order).reshape(b, (height // size) * (width // size), size * size * c)


def patch_positions(ids: Int[Array, "*n"], columns: int) -> Int[Array, "*n 2"]:
    """(row, column) of patch ids that count row by row."""
    return jnp.stack([ids // columns, ids % columns], axis=-1)


def own_grids(shapes: Int[Array, "b 2"], n: int) -> Int[Array, "b n 4"]:
    """(row, column, rows, columns) of n patches of images whose grids of patches are (rows, columns); padding stands at (0, 0)."""
    i, rows, columns = jnp.arange(n)[None], shapes[:, :1], shapes[:, 1:]
    i = jnp.where(i < rows * columns, i, 0)
    sizes = (jnp.broadcast_to(x, i.shape) for x in (rows, columns))
    return jnp.stack([i // columns, i % columns, *sizes], axis=-1)

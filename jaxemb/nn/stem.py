"""Stems: from images or token ids to the first vectors of an encoder, and where they are."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import INITS, Dense
from jaxemb.layers.norms import LayerNorm, normalise
from jaxemb.nn.base import Stem


class Patches(Stem):
    """Square patches, flattened (row, column, channel) and projected: a convolution whose stride is its kernel, as one matmul.

    Parameters: `proj/kernel` (size size c, d), `proj/bias` (d); with norm="dual" also `norm_before` (size size c) and `norm_after`
    (d), `scale` and `bias` each. Positions are (row, column) of the patch.
    """

    size: int = 16
    """Pixels along the side of a patch."""
    kernel_init: str = "normal"
    norm: Literal["patch", "dual"] | None = None
    """What TrAct is compared with. "patch": every patch has mean 0 and deviation 1 (PatchNorm); "dual": a LayerNorm before and one
    after the projection (DualPatchNorm, Kumar et al. 2023). The eps of 1e-6 is our choice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, norm=(None, "patch", "dual"), kernel_init=INITS)
        if self.size < 1:
            raise ConfigError(f"Patches.size must be at least 1, is {self.size}")

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "b H W c"],
        *,
        width: int,
        keep: Int[Array, "b k"] | None = None,
        types: Array | None = None,
        dtype: str = "float32",
    ) -> Float[Array, "b n d"]:
        if types is not None:
            raise ConfigError("types are of token ids, and Patches reads images")
        self.grid(inputs.shape[1:3])
        patches = patchify(inputs, self.size)
        if keep is not None:  # gathering pixels first: what is masked costs nothing from here on
            patches = jnp.take_along_axis(patches, keep[:, :, None], axis=1)
        return self._project(patches.astype(dtype), width)

    def _project(self, patches: Float[Array, "b n p"], width: int) -> Float[Array, "b n d"]:
        if self.norm == "patch":
            patches = normalise(patches, 1e-6).astype(patches.dtype)
        if self.norm == "dual":
            patches = LayerNorm(name="norm_before")(patches)
        tokens = Dense(width, name="proj", kernel_init=self.kernel_init)(patches)
        return LayerNorm(name="norm_after")(tokens) if self.norm == "dual" else tokens

    def positions(self, inputs: Array, keep: Int[Array, "b k"] | None = None) -> Int[Array, "#b n 2"]:
        rows, columns = self.grid(inputs.shape[1:])
        return patch_positions(jnp.arange(rows * columns)[None] if keep is None else keep, columns)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of patches of an image of this height and width."""
        height, width = shape[:2]
        if height % self.size or width % self.size:
            raise ConfigError(f"Patches(size={self.size}) does not divide an image of {height} x {width} pixels")
        return height // self.size, width // self.size

    def picture(self, inputs: Array) -> Array:
        return inputs


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
        tokens = self._rows("embedding", self.vocabulary, width, inputs, keep).astype(dtype)
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


def patchify(images: Float[Array, "b H W c"], size: int) -> Float[Array, "b n p"]:
    """Cuts images into patches, row by row; a patch is flattened as (row, column, channel)."""
    b, height, width, c = images.shape
    cut = images.reshape(b, height // size, size, width // size, size, c)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(b, (height // size) * (width // size), size * size * c)


def patch_positions(ids: Int[Array, "*n"], columns: int) -> Int[Array, "*n 2"]:
    """(row, column) of patch ids that count row by row."""
    return jnp.stack([ids // columns, ids % columns], axis=-1)

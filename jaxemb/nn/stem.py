"""Stems: from images or token ids to the first vectors of an encoder, with the position of each."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.nn.dense import Dense, LayerNorm, normalise
from jaxemb.ops import tract


class Stem(nn.Module):
    """Says how inputs become tokens. The encoder passes its width and dtypes, so that they are written once."""

    def __call__(self, inputs: Array, *, width: int, keep: Array | None = None, **dense: Any) -> tuple[Array, Array]:
        """(tokens b n d, positions #b n a). `keep` (b k) picks tokens before anything is computed for them; without it all
        examples have the same positions, given once (1 n a)."""
        raise TypeError(f"{type(self).__name__} does not define __call__")

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Positions along each axis, of one input of this shape; None where that is not fixed."""
        return None

    def picture(self, inputs: Array) -> Array | None:
        """The inputs as images (b H W c), where they are."""
        return None


class Patches(Stem):
    """Square patches, flattened (row, column, channel) and projected: a convolution whose stride is its kernel, as one matmul.

    Parameters: `proj/kernel` (size size c, d), `proj/bias` (d); with norm="dual" also `norm_before` (size size c) and `norm_after`
    (d), `scale` and `bias` each. Positions are (row, column) of the patch.
    """

    size: int = 16
    """Pixels along the side of a patch."""
    tract: float | None = None
    """lambda of TrAct (Petersen et al. 2024, `ops/tract.py`): the kernel learns as if the tokens were the parameters. 0.1 is usual;
    images should be standardised. None: the plain gradient."""
    tract_pieces: int = 1
    """Parts of the batch that have a second moment each: as many as devices is what the released code does. 1: the global batch."""
    norm: Literal["patch", "dual"] | None = None
    """What TrAct is compared with. "patch": every patch has mean 0 and deviation 1 (PatchNorm); "dual": a LayerNorm before and one
    after the projection (DualPatchNorm, Kumar et al. 2023). The eps of 1e-6 is our choice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        tract.check(self.tract, self.tract_pieces, "Patches.")
        choices(self, norm=(None, "patch", "dual"))

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "b H W c"], *, width: int, keep: Int[Array, "b k"] | None = None, **dense: Any
    ) -> tuple[Float[Array, "b n d"], Int[Array, "#b n 2"]]:
        rows, columns = self.grid(inputs.shape[1:3])
        patches = patchify(inputs, self.size)
        if keep is None:
            keep = jnp.arange(rows * columns)[None]
        else:  # gathering pixels first: what is masked costs nothing from here on
            patches = jnp.take_along_axis(patches, keep[:, :, None], axis=1)
        return self._project(patches, width, dense), patch_positions(keep, columns)

    def _project(self, patches: Float[Array, "b n p"], width: int, dense: dict[str, Any]) -> Float[Array, "b n d"]:
        dtypes = {name: dense[name] for name in ("dtype", "param_dtype") if name in dense}
        if self.norm == "patch":
            patches = normalise(patches, 1e-6)
        if self.norm == "dual":
            patches = LayerNorm(name="norm_before", **dtypes)(patches)
        tokens = Dense(width, name="proj", tract=self.tract, tract_pieces=self.tract_pieces, **dense)(patches)
        return LayerNorm(name="norm_after", **dtypes)(tokens) if self.norm == "dual" else tokens

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of patches of an image of this height and width."""
        height, width = shape[:2]
        if height % self.size or width % self.size:
            raise ConfigError(f"Patches(size={self.size}) does not divide an image of {height} x {width} pixels")
        return height // self.size, width // self.size

    def picture(self, inputs: Array) -> Array:
        return inputs


class Tokens(Stem):
    """Looks up the vectors of token ids. Parameters: `embedding` (v, d). Positions count from 0."""

    vocabulary: int = 256
    """Number of ids; an id outside gives NaN, not the nearest row."""
    std: float = 0.02
    """Spread of the table at the start. Beside sine-cosine positions, whose entries are about .7, it should be near 1."""

    @nn.compact
    def __call__(
        self, inputs: Int[Array, "b n"], *, width: int, keep: Int[Array, "b k"] | None = None, **dense: Any
    ) -> tuple[Float[Array, "b k d"], Int[Array, "#b k 1"]]:
        table = self.param(
            "embedding", nn.initializers.normal(self.std), (self.vocabulary, width), jnp.dtype(dense.get("param_dtype", "float32"))
        )
        if keep is None:
            keep = jnp.arange(inputs.shape[1])[None]
        else:
            inputs = jnp.take_along_axis(inputs, keep, axis=1)
        tokens = jnp.take(table, inputs, axis=0, mode="fill", fill_value=jnp.nan)
        return tokens.astype(dense.get("dtype", "float32")), keep[:, :, None]

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

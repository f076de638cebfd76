"""Stems: from images or token ids to the first vectors of an encoder, with the position of each."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.nn.dense import Dense


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

    Parameters: `proj/kernel` (size size c, d), `proj/bias` (d). Positions are (row, column) of the patch.
    """

    size: int = 16
    """Pixels along the side of a patch."""

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
        return Dense(width, name="proj", **dense)(patches), patch_positions(keep, columns)

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

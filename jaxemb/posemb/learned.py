"""A learned table of absolute positions."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.posemb.base import PosEmb
from jaxemb.types import Paper


class Learned(PosEmb):
    """Adds a trained row per position: one row a cell of a grid, as in ViT and BERT.

    Parameters: `table` (prod(shape), d), cells counted row by row, drawn with std .02.
    Positions are data, so an id outside the table cannot be refused while tracing: its row is NaN (JAX would silently take the
    last one) and the loop stops at the first loss.
    """

    paper: ClassVar[Paper | None] = Paper("An Image is Worth 16x16 Words", 2021, "arxiv.org/abs/2010.11929")

    shape: tuple[int, ...] = (16, 16)
    """Positions along each axis: (n,) for sequences, (rows, columns) for images."""

    @nn.compact
    def add(self, x: Float[Array, "b n d"], pos: Num[Array, "b n a"]) -> Float[Array, "b n d"]:
        if pos.shape[-1] != len(self.shape):
            raise ConfigError(f"Learned(shape={self.shape}) was given positions of {pos.shape[-1]} numbers")
        if not jnp.issubdtype(pos.dtype, jnp.integer):
            raise ConfigError(f"Learned takes whole positions, not {pos.dtype}")
        size, row, inside = 1, jnp.zeros(pos.shape[:-1], pos.dtype), jnp.ones(pos.shape[:-1], bool)
        for axis in reversed(range(len(self.shape))):
            p = pos[..., axis]
            row, inside, size = row + p * size, inside & (p >= 0) & (p < self.shape[axis]), size * self.shape[axis]
        table = self.param("table", nn.initializers.normal(0.02), (size, x.shape[-1]), jnp.float32)
        rows = jnp.take(table, jnp.where(inside, row, size), axis=0, mode="fill", fill_value=jnp.nan)
        return x + rows.astype(x.dtype)

"""Positional encoding by a convolution over the grid of tokens."""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.grid import cell_ids
from jaxemb.posemb.base import Places, PosEmb, refuse
from jaxemb.types import Paper


class Conditional(PosEmb):
    """Adds a depth-wise convolution of the tokens to them, after the first block: zeros around the grid say where its edge is.

        x <- x + conv(x)      k x k, one filter a feature (the PEG of CPVT)

    Tokens are laid out on the grid by their positions, with zeros in cells that have none, convolved and read back: with all
    patches in raster order this is a plain convolution. Tokens of one cell are added up. A position outside the grid gives NaN.
    Sequences get a window of k tokens, ahead as well as behind.
    Parameters: `conv_i/kernel` (k, k, 1, d) and `conv_i/bias` (d), for layer i.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Conditional Positional Encodings for Vision Transformers", 2021, "arxiv.org/abs/2102.10882"
    )

    layers: tuple[int, ...] = (0,)
    """After which blocks; 0 is the first."""
    kernel: int = 3
    """Side k of the window."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise ConfigError(f"Conditional.kernel={self.kernel} must be odd and at least 3")
        if not self.layers or min(self.layers) < 0:
            raise ConfigError(f"Conditional.layers={self.layers} must name layers from 0 on")

    @nn.compact
    def after_block(self, x: Float[Array, "b n d"], layer: int, places: Places) -> Float[Array, "b n d"]:
        if layer not in self.layers:
            return x
        refuse(places.allow, self, "its convolution mixes neighbours")
        pos, grid, valid = places.pos, places.grid, places.allow.valid
        if grid is None:
            raise ConfigError("Conditional convolves over the grid of the input, and this encoder's stem has none")
        if len(grid) != pos.shape[-1] or not jnp.issubdtype(pos.dtype, jnp.integer):
            what = f"{pos.shape[-1]} numbers of {pos.dtype}"
            raise ConfigError(f"Conditional needs the cell of each token on a grid of {len(grid)} axes, not positions of {what}")
        b, _, d = x.shape
        cells, (cell, inside) = math.prod(grid), cell_ids(pos, grid)
        cell = jnp.broadcast_to(jnp.where(inside, cell, cells), x.shape[:2])
        batch = jnp.arange(b)[:, None]
        shown = x if valid is None else jnp.where(valid[:, :, None], x, 0)  # padding must not be seen by its neighbours
        canvas = jnp.zeros((b, cells, d), x.dtype).at[batch, cell].add(shown, mode="drop").reshape(b, *grid, d)
        window = (self.kernel,) * len(grid)
        conv = nn.Conv(d, window, feature_group_count=d, dtype=x.dtype, name=f"conv_{layer}")
        out = conv(canvas).reshape(b, cells, d)
        return x + out.at[batch, cell].get(mode="fill", fill_value=jnp.nan)

"""Images read along a curve: one number a patch."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Int, Num

from jaxemb.config import ConfigError, choices
from jaxemb.ops.curves import ORDERS, order
from jaxemb.ops.grid import cell_ids
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.posemb.sincos import SinCos
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper


class Curve(_Wrapper):
    """Gives the positional embedding `of`, one for sequences, the place at which a curve through the grid visits each patch.

    (row, column) becomes index[row, column] by the table of `jaxemb/ops/curves.py`. Tokens stay where they are: only what is said
    about them changes. A position outside the grid gets the index -1, of which a `Learned` table makes NaN and waves a place
    before the first; whole positions alone.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LOOPE: Learnable Optimal Patch Order in Positional Embeddings", 2025, "arxiv.org/abs/2504.14386"
    )
    axes: ClassVar[int] = 2

    of: PosEmb = field(default_factory=lambda: SinCos(axes=1))
    """What is told the index."""
    order: str = "gilbert"
    """"raster" row by row, "snake" every second row backwards, "gilbert" a Hilbert curve on any grid, "hilbert" on 2^k squares,
    "morton" the Z-order."""
    shape: tuple[int, int] | None = None
    """Rows and columns that the curve fills; None: those of the input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, order=ORDERS)

    def told(self, places: Places) -> Places:
        """The grid that `of` knows: the curve laid out straight."""
        shape = self.shape or places.grid
        return places.at(places.pos, grid=None if shape is None else (shape[0] * shape[1],))

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        pos, grid, shape = places.pos, places.grid, self.shape or places.grid
        if shape is None:
            raise ConfigError("Curve needs the grid of the input, which this encoder's stem does not know: set Curve.shape")
        if len(shape) != 2 or pos.shape[-1] != 2 or not jnp.issubdtype(pos.dtype, jnp.integer):
            what = f"{pos.shape[-1]} numbers of {pos.dtype} on a grid of {len(shape)} axes"
            raise ConfigError(f"Curve orders the cells of images: it needs a whole row and column, not {what}")
        if grid is not None and any(g > s for g, s in zip(grid, shape, strict=True)):
            raise ConfigError(f"Curve.shape={self.shape} has no index for an input of {' x '.join(map(str, grid))} cells")
        return self.of.locate(self.told(places).at(visits(pos, self.order, shape)[..., None]))


def visits(pos: Int[Array, "*n 2"], name: str, shape: tuple[int, int]) -> Int[Array, "*n"]:
    """When the curve comes to each (row, column); -1 outside."""
    table = jnp.asarray(order(name, *shape), pos.dtype).reshape(-1)
    cell, inside = cell_ids(pos, shape)
    return jnp.where(inside, table[jnp.where(inside, cell, 0)], -1)

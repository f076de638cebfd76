"""A learned table of absolute positions."""

from __future__ import annotations

import itertools
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError, choices
from jaxemb.ops.grid import cell_ids
from jaxemb.ops.resize import WAYS, resize, weights
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.types import Paper

EXTENSIONS = (None, *WAYS)
TAILS = ("clamp", "extrapolate")


class Learned(PosEmb):
    """Adds a trained row per position: one row a cell of a grid, as in ViT and BERT.

    Parameters: `table` (prod(shape), d), cells counted row by row. At a real-valued position the embedding is
    that between its neighbours, linearly along each axis: (1 - t) row_i + t row_i+1 at i + t.
    A position of twice as many numbers, as (row, column, rows, columns), is a cell of a grid that each image has of its own, to
    which `extend` resizes the table.
    Where the grid of the input is known, one that exceeds `shape` is refused unless `extend` says what to do. Positions are data,
    so that an id outside the table cannot be refused while tracing: its embedding is NaN (JAX would silently take the last row)
    and the loop stops at the first loss.
    """

    paper: ClassVar[Paper | None] = Paper("An Image is Worth 16x16 Words", 2021, "arxiv.org/abs/2010.11929")

    shape: tuple[int, ...] = (16, 16)
    """Positions along each axis: (n,) for sequences, (rows, columns) for images."""
    extend: str | None = None
    """For an input of another grid the table is resized to it: "resample" (bicubic, antialiased), "bicubic" (as PyTorch does it
    without antialiasing: ViT, DINOv2) or "bilinear" (antialiased: SigLIP 2), see `ops/resize.py`; not for padded texts. See also
    `posemb/rescale.py` and `posemb/reuse.py`, whose classes wrap this one."""
    std: float = 0.02
    """Spread of the table at the start."""
    first: int = 0
    """Row of position 0, along every axis: RoBERTa's table begins with rows that no token reads."""
    tail: str = "clamp"
    """Beyond the last row at real-valued positions (up to one): "clamp" repeats it, "extrapolate" follows the last slope."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shape or min(self.shape) < 1:
            raise ConfigError(f"Learned.shape={self.shape} must have a number of at least 1 for each axis")
        if not 0 <= self.first < min(self.shape) or (self.first and self.extend is not None):
            raise ConfigError(f"Learned.first={self.first} must be a row of shape={self.shape}, and 0 where a table is resized")
        choices(self, extend=EXTENSIONS, tail=TAILS)

    @nn.compact
    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        pos, grid = places.pos, places.grid
        own = self.extend is not None and pos.shape[-1] == 2 * len(self.shape)
        if pos.shape[-1] != len(self.shape) and not own:
            raise ConfigError(f"Learned(shape={self.shape}) was given positions of {pos.shape[-1]} numbers")
        rows = 1
        for side in self.shape:
            rows *= side
        table = self.param("table", nn.initializers.normal(self.std), (rows, x.shape[-1]), jnp.float32)
        shape = self.shape
        if own:
            return x + in_own_grid(table, pos, shape, str(self.extend)).astype(x.dtype)
        if grid is None and self.extend is not None:
            raise ConfigError(
                f"Learned(extend={self.extend!r}) resizes its table to the grid of the input, which is not known here"
            )
        if self.extend is not None and len(shape) == 1 and places.allow.valid is not None:
            raise ConfigError(
                f"Learned(shape={shape}, extend={self.extend!r}) resizes its table to the length of the row, padding included: "
                "the embedding of a text would depend on those beside it; set extend=None with a longer shape, or wrap it in "
                "Interpolated(original=...)"
            )
        if grid is not None and (grid != shape or self.first):
            if self.extend is not None:
                table, shape = resample(table, shape, grid, self.extend), grid
            elif any(g > s - self.first for g, s in zip(grid, shape, strict=True)):
                size = " x ".join(map(str, grid))
                raise ConfigError(
                    f"Learned(shape={shape}) has no rows for an input of {size} positions; name an extension: "
                    'extend="resample", or wrap it in Interpolated, Grouped or Recurrent'
                )
        pos = pos + self.first if self.first else pos
        whole = jnp.issubdtype(pos.dtype, jnp.integer)
        return x + (lookup(table, pos, shape) if whole else interpolate(table, pos, shape, self.tail)).astype(x.dtype)


def lookup(table: Float[Array, "r d"], pos: Num[Array, "*b a"], shape: tuple[int, ...]) -> Float[Array, "*b d"]:
    """The rows of whole positions; NaN outside."""
    row, inside = cell_ids(pos, shape)
    return jnp.take(table, jnp.where(inside, row, table.shape[0]), axis=0, mode="fill", fill_value=jnp.nan)


def interpolate(
    table: Float[Array, "r d"], pos: Float[Array, "*b a"], shape: tuple[int, ...], tail: str = "clamp"
) -> Float[Array, "*b d"]:
    """Between the rows of the surrounding cells, linearly along each axis; NaN below 0 and from one past the last row."""
    last = jnp.asarray([side - 1 for side in shape], pos.dtype)
    last = last.reshape((1,) * (pos.ndim - 1) + (-1,))
    outside = ((pos < 0) | (pos >= last + 1)).any(-1)
    if tail == "clamp":
        pos = jnp.minimum(pos, last)
    low = jnp.clip(jnp.floor(pos), 0, jnp.maximum(last - 1, 0))
    share = (pos - low).astype(table.dtype)
    total = jnp.zeros((*pos.shape[:-1], table.shape[-1]), table.dtype)
    for corner in itertools.product((0, 1), repeat=len(shape)):
        step = jnp.asarray(corner, jnp.int32).reshape((1,) * (pos.ndim - 1) + (-1,))
        weight = jnp.where(step == 1, share, 1 - share).prod(-1)
        cell = jnp.minimum(low.astype(jnp.int32) + step, last.astype(jnp.int32))
        total = total + weight[..., None] * lookup(table, cell, shape)
    return jnp.where(outside[..., None], jnp.asarray(jnp.nan, total.dtype), total)


def resample(
    table: Float[Array, "r d"], shape: tuple[int, ...], grid: tuple[int, ...], how: str = "resample"
) -> Float[Array, "s d"]:
    """A table of cells resized to another grid."""
    return resize(table.reshape(*shape, -1), grid, how).reshape(-1, table.shape[-1])


def in_own_grid(table: Float[Array, "r d"], pos: Num[Array, "b n c"], shape: tuple[int, ...], how: str) -> Float[Array, "b n d"]:
    """The table resized to the grid of each image, at its cells: `pos` holds the place along each axis, then the cells of each."""
    share = jnp.ones((*pos.shape[:2], 1), table.dtype)
    for axis, side in enumerate(shape):
        along = weights(pos[..., axis], side, pos[..., len(shape) + axis], how).astype(table.dtype)
        share = (share[..., None] * along[:, :, None]).reshape(*pos.shape[:2], -1)
    return jnp.matmul(share, table, precision="highest")

"""A byte a number, or half of one."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.index.base import Index, Tree
from jaxemb.ops.scalar_codes import GRIDS, Grid, encode, fit_grid, pack_nibbles, unpack_nibbles
from jaxemb.types import Paper

DECODED = 2**22
"""Numbers that are decoded at a time."""


@dataclasses.dataclass(frozen=True)
class Scalar(Index):
    """s = q . x', x' = offset + step * code: the query stays as it is, and so no error is its own.

    q . x' = q . offset + (q * step) . code, of codes that are decoded block by block.
    """

    paper: ClassVar[Paper | None] = Paper("The Faiss library", 2024, "arxiv.org/abs/2401.08281")

    bits: int = 8
    """8 or 4."""
    grid: str = "range"
    """"range", "uniform" or "symmetric" (`ops/scalar_codes.py`)."""
    sample: int = 2**16
    """Rows that the grid is fitted to; what lies beyond it gets its last code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, grid=GRIDS)
        if self.bits not in (4, 8):
            raise ConfigError(f"Scalar.bits={self.bits}; valid: 4, 8")
        if self.sample < 1:
            raise ConfigError(f"Scalar.sample={self.sample}: the grid is fitted to a row at least")

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        return fit_grid(x, self.bits, self.grid)._asdict()

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        grid = Grid(**{name: np.asarray(a) for name, a in learned.items()})
        codes = encode(x, grid, self.bits, self.grid)
        rows = {"codes": codes if self.bits == 8 else pack_nibbles(codes)}
        if self.similarity == "euclidean":
            rows["square"] = ((codes.astype(x.dtype) * grid.step) ** 2).sum(1)  # from the first code: see `scores`
        return rows

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        codes, offset = rows["codes"], learned["offset"].astype(q.dtype)[None]
        if self.similarity == "euclidean":  # between what both have beyond the first code: no squares of what they share
            q = q - offset
        scaled = q * learned["step"].astype(q.dtype)[None]
        m, size = len(codes), max(DECODED // q.shape[1], 1)

        def block(codes: Array) -> Array:
            whole = codes if self.bits == 8 else unpack_nibbles(codes, q.shape[1])
            return scaled @ whole.astype(q.dtype).T

        def fill(i: Array, out: Array) -> Array:
            some = jax.lax.dynamic_slice_in_dim(codes, i * size, size)
            return jax.lax.dynamic_update_slice_in_dim(out, block(some), i * size, axis=1)

        whole = m // size if m > size else 0
        s = jnp.zeros((len(q), m), q.dtype)
        s = jax.lax.fori_loop(0, whole, fill, s) if whole else s
        s = s.at[:, whole * size :].set(block(codes[whole * size :])) if m > whole * size else s
        if self.similarity == "euclidean":
            return 2 * s - rows["square"][None] - (q * q).sum(1, keepdims=True)
        return s + (q * offset).sum(1, keepdims=True)

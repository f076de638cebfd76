"""Cells of a grid and their numbers, counted row by row, in any number of axes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int


def cells(grid: tuple[int, ...]) -> Int[np.ndarray, "n a"]:
    """Every cell, in the order of their numbers."""
    return np.indices(grid).reshape(len(grid), -1).T


def cell_ids(pos: Int[Array, "*n a"], grid: tuple[int, ...]) -> tuple[Int[Array, "*n"], Bool[Array, "*n"]]:
    """(number, whether it lies on the grid) of each position; numbers of those outside mean nothing."""
    number, inside = jnp.zeros(pos.shape[:-1], pos.dtype), jnp.ones(pos.shape[:-1], bool)
    for axis, side in enumerate(grid):
        p = pos[..., axis]
        number, inside = number * side + p, inside & (p >= 0) & (p < side)
    return number, inside

"""Resizing grids of cells, as products with a small matrix for each axis."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

WAYS = ("resample", "bicubic", "bilinear")
"""resample: bicubic (Keys 1981, a = -1/2), antialiased, as in most libraries; bicubic: PyTorch's without antialiasing (a = -3/4);
bilinear: antialiased."""


def weights(at: Num[Array, "*b n"], source: int, target: Any, how: str) -> Float[Array, "*b n s"]:
    """What the cells `at` of an axis of `target` cells take of its `source` cells, each row with the sum one.

    Cell i of n lies at (i + 1/2) / n of the axis. `target` is a number, or an array of one for each cell, so that images of one
    batch may have grids of their own. Antialiased kinds reach as many cells further as the axis is made shorter and leave out what
    lies outside; "bicubic" reads the last cell there.
    """
    dtype = jnp.result_type(float)
    ratio = source / jnp.asarray(target, dtype)
    ratio = jnp.broadcast_to(ratio, at.shape)
    centre = (at.astype(dtype) + 0.5) * ratio - 0.5
    cells = jnp.arange(source, dtype=dtype).reshape((1,) * at.ndim + (-1,))
    if how == "bicubic":
        taps = jnp.floor(centre)[..., None] + jnp.arange(-1, 3, dtype=dtype).reshape((1,) * at.ndim + (-1,))
        reads = jnp.clip(taps, 0, source - 1)[..., None] == cells[..., None, :]
        return jnp.where(reads, keys(taps - centre[..., None], -0.75)[..., None], 0).sum(-2)
    apart = (cells - centre[..., None]) / jnp.maximum(ratio, 1)[..., None]
    found = keys(apart, -0.5) if how == "resample" else jnp.maximum(1 - jnp.abs(apart), 0)
    return found / found.sum(-1, keepdims=True)


def keys(x: Float[Array, "*n"], a: float) -> Float[Array, "*n"]:
    """Keys' cubic kernel: 1 at 0, 0 at all other whole numbers and beyond 2."""
    x = jnp.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return jnp.where(x <= 1, near, jnp.where(x < 2, far, 0))


def resize(cells: Float[Array, "*s d"], grid: tuple[int, ...], how: str) -> Float[Array, "*t d"]:
    """A grid of vectors resized to another one, axis by axis."""
    for axis, (source, target) in enumerate(zip(cells.shape[:-1], grid, strict=True)):
        w = weights(jnp.arange(target), source, target, how).astype(cells.dtype)
        cells = jnp.moveaxis(jnp.tensordot(w, cells, (1, axis), precision="highest"), 0, axis)
    return cells

"""The patches around a patch, and those of them that look most like it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.ops.grid import cells
from jaxemb.ops.similarity import unit


@functools.lru_cache(32)
def window_neighbours(
    grid: tuple[int, int], window: int, wrap: bool = True
) -> tuple[Int[np.ndarray, "n m"], Bool[np.ndarray, "n m"]]:
    """(ids, valid) of the window x window patches around each patch, without itself, in ascending order of their ids.

    `wrap`: the grid is a torus, so that every patch has all of them; else those beyond the border are not valid (and stand last).
    """
    rows, columns = grid
    if window < 3 or window % 2 == 0:
        raise ConfigError(f"window={window} must be odd and at least 3")
    if window > min(grid):
        raise ConfigError(f"window={window} is larger than the grid of {rows} x {columns} patches")
    reach = np.arange(window) - window // 2
    offsets = np.stack(np.meshgrid(reach, reach, indexing="ij"), -1).reshape(-1, 2)
    offsets = offsets[(offsets != 0).any(1)]
    place = cells(grid)[:, None] + offsets[None]
    valid = ((place >= 0) & (place < np.asarray(grid))).all(-1) | wrap
    ids = np.where(valid, place[..., 0] % rows * columns + place[..., 1] % columns, rows * columns)
    order = np.argsort(ids, axis=1)
    ids, valid = np.take_along_axis(ids, order, 1), np.take_along_axis(valid, order, 1)
    return np.where(valid, ids, 0).astype(np.int32), valid


def most_similar(
    features: Float[Array, "b n d"], ids: Int[np.ndarray, "n m"], valid: Bool[np.ndarray, "n m"], k: int
) -> tuple[Int[Array, "b n k"], Bool[Array, "b n k"]]:
    """The k candidates of each patch with the largest cosine similarity to it, and which of them are valid. No gradient.

    All similarities of an image are one matrix product; the candidates' are read off it.
    """
    if not 1 <= k <= ids.shape[1]:
        raise ConfigError(f"k={k} must lie in 1 to {ids.shape[1]}, the patches of a window without its centre")
    x = unit(jax.lax.stop_gradient(features))
    every = jnp.einsum("bnd,bmd->bnm", x, x)
    near = jnp.take_along_axis(every, jnp.asarray(ids)[None], axis=2)
    value, place = jax.lax.top_k(jnp.where(valid[None], near, -jnp.inf), k)
    chosen = jnp.take_along_axis(jnp.broadcast_to(jnp.asarray(ids)[None], near.shape), place, axis=2)
    return chosen, jnp.isfinite(value)

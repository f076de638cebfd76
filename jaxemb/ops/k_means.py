"""k-means by Lloyd's rounds."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

BLOCK = 2**22
"""Distances that are in memory at a time."""


def k_means(
    x: Float[Array | np.ndarray, "n d"], k: int, *, rounds: int = 25, seed: int = 0, start: Float[Array, "k d"] | None = None
) -> Float[Array, "k d"]:
    """Centroids c that make sum_i min_j |x_i - c_j|^2 small (Lloyd 1957).

    A round: each row goes to its nearest centroid, which becomes the mean of its rows; centroids without rows move to the rows
    that are furthest from theirs. They start from `start`, or from k rows that are drawn with `seed`; of k rows or fewer each is a
    centroid, and they come again until there are k.
    """
    x = jnp.asarray(x)
    if start is None:
        drawn = np.random.default_rng(seed).permutation(len(x))
        start = x[np.resize(np.sort(drawn[:k]), k)]
    return start if len(x) <= k else _lloyd(x, start, rounds)


def nearest(x: Float[Array, "n d"], centroids: Float[Array, "k d"]) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """(number, squared distance) of the centroid that is nearest to each row, of equals the first. Traced or not."""
    size, mean = max(BLOCK // len(centroids), 1), centroids.mean(0, keepdims=True)
    centroids = centroids - mean  # far from zero the squares would hide the distances
    half = 0.5 * (centroids * centroids).sum(1)

    def block(x: Array) -> tuple[Array, Array]:
        x = x - mean
        s = x @ centroids.T - half[None]
        return s.argmax(1).astype(jnp.int32), (x * x).sum(1) - 2 * s.max(1)

    if len(x) <= size:
        return block(x)
    blocks = jnp.pad(x, ((0, -len(x) % size), (0, 0))).reshape(-1, size, x.shape[1])
    ids, far = jax.lax.map(block, blocks)
    return ids.reshape(-1)[: len(x)], far.reshape(-1)[: len(x)]


@functools.partial(jax.jit, static_argnums=2)
def _lloyd(x: Float[Array, "n d"], start: Float[Array, "k d"], rounds: int) -> Float[Array, "k d"]:
    k = len(start)

    def step(_: Any, centroids: Array) -> Array:
        ids, far = nearest(x, centroids)
        count = jnp.bincount(ids, length=k)
        empty = count == 0
        means = jax.ops.segment_sum(x, ids, k) / jnp.maximum(count, 1).astype(x.dtype)[:, None]
        # The first centroid without rows gets the row that is furthest from its own, the second the next one, and so on.
        _, furthest = jax.lax.top_k(far, k)
        return jnp.where(empty[:, None], x[furthest[jnp.cumsum(empty) - 1]], means)

    return jax.lax.fori_loop(0, rounds, step, start)

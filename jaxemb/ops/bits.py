"""A bit a dimension, 32 in a word; distances are counts of bits that differ."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32

from jaxemb.ops.nearest import Best, top_k

WORD = 32
EACH, SIDE = 4, 64
"""Rows of a group, and groups of a block, whose words a processor's cache holds beside those of the queries."""

SHIFTS = (np.arange(WORD) // 8 * 8 + 7 - np.arange(WORD) % 8).astype(np.uint32)
"""Of the bits of a word, the first the highest of the lowest byte."""


def pack(bits: Bool[Array, "n d"]) -> UInt32[Array, "n w"]:
    """Words whose bytes, the lowest first, are those of `numpy.packbits`; the last word is filled with zeros."""
    n, d = bits.shape
    words = jnp.pad(bits, ((0, 0), (0, -d % WORD))).astype(jnp.uint32).reshape(n, -1, WORD)
    return (words << jnp.asarray(SHIFTS)[None, None]).sum(-1, dtype=jnp.uint32)


def unpack(words: UInt32[Array, "*n w"], width: int) -> Bool[Array, "*n d"]:
    """The reverse, of `width` bits a row."""
    shifts = jnp.asarray(SHIFTS).reshape((1,) * words.ndim + (WORD,))
    return (words[..., None] >> shifts & jnp.uint32(1)).astype(bool).reshape(*words.shape[:-1], -1)[..., :width]


def hamming(q: UInt32[Array, "b w"], x: UInt32[Array, "w m"]) -> Int[Array, "b m"]:
    """How many bits differ of each query and each row. Rows lie side by side, so that a processor counts several at a time."""
    differ = [jax.lax.population_count(q[:, w, None] ^ x[w][None]) for w in range(len(x))]
    return functools.reduce(jnp.add, differ).astype(jnp.int32)


def signed_products(q: Float[Array, "b d"], words: UInt32[Array, "b c w"]) -> Float[Array, "b c"]:
    """q . (2 bit - 1) of candidates that each query has of its own."""
    bits = unpack(words, q.shape[1])
    return 2 * jnp.einsum("bd,bcd->bc", q, bits.astype(q.dtype)) - q.sum(1, keepdims=True)


def fewest(q: UInt32[Array, "b w"], x: UInt32[Array, "w m"], allowed: Bool[Array, "#b m"] | None, k: int) -> Best:
    """The k rows of which the fewest bits differ, as (-distance, columns), -inf for those that are not allowed; k is at most m."""
    if x.shape[1] < 2 * k * SIDE * EACH or len(q) < EACH or (allowed is not None and len(allowed) > 1):
        return _all(q, x, allowed, k)
    seen = jnp.ones((1, x.shape[1]), bool) if allowed is None else allowed
    blocks, whole = (lambda q, x, seen, f=f: f(q, x, seen, k) for f in (_in_blocks, _all))
    best: Any = jax.lax.platform_dependent(q, x, seen, cpu=blocks, default=whole)
    return best[0], best[1]


def _all(q: Array, x: Array, allowed: Array | None, k: int) -> Best:
    less = -hamming(q, x).astype(jnp.float32)
    return top_k(less if allowed is None else jnp.where(allowed, less, -jnp.inf), k)


def _in_blocks(q: UInt32[Array, "b w"], x: UInt32[Array, "w m"], allowed: Bool[Array, "1 m"], k: int) -> Best:
    """The same without a distance a pair in memory, which a processor writes and reads more slowly than it counts.

    A block is SIDE groups of EACH rows. All queries go through one block, which stays in the cache, and of each group the least
    distance is kept. The k nearest lie in the k nearest blocks, and there in the k nearest groups, whose rows are counted again;
    of equals the first are taken each time, and with them the first of equal rows.
    """
    (b, w), m = q.shape, x.shape[1]
    blocks, shift = -(-m // (SIDE * EACH)), (w + 1).bit_length()  # 32 2^shift is beyond all distances
    # Who is not allowed differs by a further word, as does what fills the last block up. Any other operand, such as a mask, keeps
    # the compiler from counting several rows at a time: 3.5 times as slow.
    ones = jnp.uint32(2**WORD - 1)
    extra = jnp.where(allowed, jnp.uint32(0), ones)
    x = jnp.pad(jnp.concatenate([x, extra]), ((0, 0), (0, blocks * SIDE * EACH - m)), constant_values=ones)
    words = x.reshape(w + 1, blocks, SIDE, EACH)
    q = jnp.pad(q, ((0, 0), (0, 1)))

    def distance(of: Callable[[int], Array]) -> Array:
        """From the words that differ."""
        counts = [jax.lax.population_count(of(i)) for i in range(w + 1)]
        return functools.reduce(jnp.add, [*counts[:-1], counts[-1] << jnp.uint32(shift)])

    def least(i: Array) -> Array:
        block = jax.lax.dynamic_index_in_dim(words, i, 1, keepdims=False).transpose(2, 0, 1)
        block = jax.lax.optimization_barrier(block)  # groups side by side, for the same reason
        each = [distance(lambda i, row=row: q[:, i, None] ^ row[i][None]) for row in block]
        return functools.reduce(jnp.minimum, each).astype(jnp.int16 if WORD << shift < 2**14 else jnp.int32)

    groups = jax.lax.map(least, jnp.arange(blocks, dtype=jnp.int32))  # (blocks b SIDE)
    near = _first(_least(groups).T, k)
    columns = _inside(near, SIDE)
    groups = groups[near, jnp.arange(b, dtype=jnp.int32)[:, None]].reshape(b, -1)
    columns = _inside(jnp.take_along_axis(columns, _first(groups, k), 1), EACH)
    counts = distance(lambda i: q[:, i, None] ^ x[i][columns]).astype(jnp.int32)
    best, place = jax.lax.top_k(jnp.where(counts > WORD * w, -jnp.inf, -counts.astype(jnp.float32)), k)
    return best, jnp.take_along_axis(columns, place, 1)


def _least(x: Int[Array, "n b s"]) -> Int[Array, "n b"]:
    """Along the last axis, of a power of two, by halves: twice as fast as `min`."""
    while x.shape[2] > 1:
        half = x.shape[2] // 2
        x = jnp.minimum(x[:, :, :half], x[:, :, half:])
    return x[:, :, 0]


def _first(counts: Int[Array, "b n"], k: int) -> Int[Array, "b k"]:
    """The columns of the k least, rising. As floats: whole numbers are sorted sixty times as slowly."""
    _, columns = top_k(-counts.astype(jnp.float32), k)
    return jnp.sort(columns, axis=1)


def _inside(near: Int[Array, "b k"], size: int) -> Int[Array, "b c"]:
    """The numbers of what lies in these, each of `size`."""
    return (near[:, :, None] * size + jnp.arange(size, dtype=near.dtype)[None, None]).reshape(len(near), -1)

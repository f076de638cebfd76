"""A bit a dimension, 32 in a word; distances are counts of bits that differ."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32

WORD = 32


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

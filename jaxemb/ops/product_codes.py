"""Vectors as numbers of centroids, one a part; and what queries have in common with such rows.

Letters: n or m rows, p parts of e numbers each, k = 2^bits centroids of a part, j the code of a part. Codes are kept as bytes
(r m), rows in columns: a table of a query is read by all rows, part after part.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from jaxemb.ops.k_means import nearest

MANY = 128
"""Queries from which on it is faster to decode rows and multiply than to look up in tables (one core of a Xeon, 384 numbers in 48
parts)."""
DECODED = 1024
"""Rows that are decoded at a time."""


@jax.jit
def codes(x: Float[Array | np.ndarray, "n p e"], c: Float[Array, "p k e"]) -> Int[Array, "n p"]:
    """The number of the nearest centroid, of each part."""
    return jax.lax.map(lambda part: nearest(*part)[0], (jnp.asarray(x).swapaxes(0, 1), c)).T


@jax.jit
def decoded(j: Int[Array | np.ndarray, "n p"], c: Float[Array, "p k e"]) -> Float[Array, "n d"]:
    """The centroids of codes, side by side."""
    return c[jnp.arange(len(c))[None], j].reshape(len(j), -1)


def packed(j: Int[Array | np.ndarray, "n p"], bits: int) -> UInt8[np.ndarray, "n r"]:
    """Codes as a stream of bits, each row by itself: the lowest bit of the first code is the lowest bit of the first byte, and the
    last byte is filled with zeros (faiss's layout)."""
    if bits == 8:
        return np.asarray(j).astype(np.uint8)
    each = (np.asarray(j)[..., None] >> np.arange(bits)) & 1
    return np.packbits(each.reshape(len(j), -1).astype(np.uint8), axis=1, bitorder="little")


def unpacked(bytes_: UInt8[Array, "r m"], part: Any, bits: int) -> Int[Array, " m"]:
    """The codes of a part."""
    if bits == 8:
        return bytes_[part].astype(jnp.int32)
    at, shift = jnp.divmod(jnp.asarray(part, jnp.int32) * bits, 8)
    both = bytes_[at].astype(jnp.int32) | bytes_[jnp.minimum(at + 1, len(bytes_) - 1)].astype(jnp.int32) << 8
    return (both >> shift) & (2**bits - 1)


def products(
    q: Float[Array, "b p e"], c: Float[Array | np.ndarray, "p k e"], bytes_: UInt8[Array, "r m"], bits: int, squared: bool = False
) -> Float[Array, "b m"]:
    """q . x of each query and each decoded row x; or -|q - x|^2."""
    c = jnp.asarray(c)
    if squared:  # around the mean of the centroids: far from zero squares would hide distances
        mean = c.mean(1)
        q, c = q - mean[None], c - mean[:, None]
    return look_up(tables(q, c, squared), bytes_, bits) if len(q) < MANY else by_decoding(q, c, bytes_, bits, squared)


def tables(q: Float[Array, "b p e"], c: Float[Array, "p k e"], squared: bool = False) -> Float[Array, "p k b"]:
    """q . c of each query, part and centroid; or -|q - c|^2."""
    t = jnp.einsum("bpe,pke->pkb", q, c)
    return 2 * t - (c * c).sum(-1)[..., None] - (q * q).sum(-1).T[:, None] if squared else t


def look_up(t: Float[Array, "p k b"], bytes_: UInt8[Array, "r m"], bits: int) -> Float[Array, "b m"]:
    """sum_p t[p, j_p]."""

    def add(part: Any, s: Array) -> Array:
        return s + t[part].at[unpacked(bytes_, part, bits)].get(mode="clip")

    return jax.lax.fori_loop(0, len(t), add, jnp.zeros((bytes_.shape[1], t.shape[2]), t.dtype)).T


def by_decoding(
    q: Float[Array, "b p e"], c: Float[Array, "p k e"], bytes_: UInt8[Array, "r m"], bits: int, squared: bool = False
) -> Float[Array, "b m"]:
    """The same as of tables, by the product of queries and rows, which are decoded block by block."""
    m, parts = bytes_.shape[1], jnp.arange(len(c))
    q = q.reshape(len(q), -1)
    square = (q * q).sum(1, keepdims=True)

    def block(some: Array) -> Array:
        x = decoded(jax.vmap(lambda part: unpacked(some, part, bits))(parts).T, c)
        return 2 * q @ x.T - (x * x).sum(1)[None] - square if squared else q @ x.T

    blocks = jnp.pad(bytes_, ((0, 0), (0, -m % DECODED))).reshape(len(bytes_), -1, DECODED).swapaxes(0, 1)
    return jax.lax.map(block, blocks).swapaxes(0, 1).reshape(len(q), -1)[:, :m]

"""Sums of binary vectors with weights 1, 1/2, 1/4, ...: a vector is made binary, reconstructed, and what is left made binary again
(BEBR, Gan et al. 2023).

    b = sum_t 2^-t s_t,   s_0 = sign(W_0(f)),   s_t = sign(W_t(f - R_{t-1}(b so far) / |.|)),   t = 0 .. u

Letters: m numbers of a code, u rounds after the first, K = 2^(u+1) levels of a number. The number c of a level has the sign of s_0
as its highest bit; its level is (2 c - (K - 1)) / 2^u, of which q = 2 c - (K - 1) is the integer. Codes are compared by their
cosine, q . q' / (|q| |q'|), whose product of integers is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt8, UInt32

from jaxemb.ops.bits import hamming
from jaxemb.ops.similarity import unit

MOST_ROUNDS = 7
"""A number of a code is a byte at most."""


@jax.custom_vjp
def sign(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """1 where x > 0, else -1. The gradient passes straight through where |x| <= 1, and is 0 elsewhere."""
    return jnp.where(x > 0, jnp.ones_like(x), -jnp.ones_like(x))


def _forward(x: Array) -> tuple[Array, Array]:
    return sign(x), jnp.abs(x) <= 1


def _backward(passes: Array, g: Array) -> tuple[Array]:
    return (jnp.where(passes, g, jnp.zeros_like(g)),)


sign.defvjp(_forward, _backward)


class Binarised(NamedTuple):
    """Of vectors f (n d)."""

    b: Float[Array, "n m"]
    """The code as its levels, sum_t 2^-t s_t."""
    parts: Float[Array, "n t m"]
    """s_t, of 1 and -1."""
    reconstructed: Float[Array, "n u d"]
    """f as the code told it before each round, of length 1."""


def binarised(
    f: Float[Array, "n d"], binarise: Callable[[int, Array], Array], reconstruct: Callable[[int, Array], Array], rounds: int
) -> Binarised:
    """`binarise(t, x)` is W_t, `reconstruct(t, b)` is R_t; f is taken as it is, of length 1 where that is wanted."""
    parts = [sign(binarise(0, f))]
    b, told = parts[0], []
    for t in range(1, rounds + 1):
        # Without its length of 1 what is left would be another vector, and other signs.
        told.append(unit(reconstruct(t - 1, b)))
        parts.append(sign(binarise(t, f - told[-1])))
        b = b + 2.0**-t * parts[-1]
    none = jnp.zeros((len(f), 0, f.shape[1]), f.dtype)
    return Binarised(b, jnp.stack(parts, axis=1), jnp.stack(told, axis=1) if told else none)


# ---- codes as numbers ------------------------------------------------------------------------------------------------------------


def levels(rounds: int) -> Float[np.ndarray, " k"]:
    """Of the numbers 0 to K - 1, rising: u = 1 gives -1.5, -.5, .5, 1.5."""
    return (2 * np.arange(2 ** (rounds + 1)) - (2 ** (rounds + 1) - 1)) / 2**rounds


def numbers(parts: Float[Array, "n t m"]) -> UInt8[Array, "n m"]:
    """The number of each level: the first part is the highest bit, and 0 is where all are -1."""
    weights = 2 ** np.arange(parts.shape[1] - 1, -1, -1, dtype=np.uint8)
    return jnp.where(parts > 0, jnp.asarray(weights)[None, :, None], jnp.uint8(0)).sum(1, dtype=jnp.uint8)


def integers(code: UInt8[Array | np.ndarray, "n m"], rounds: int) -> Int[Array, "n m"]:
    """q = 2 c - (K - 1) = 2^u b."""
    return 2 * jnp.asarray(code).astype(jnp.int32) - (2 ** (rounds + 1) - 1)


def inverse_norm(q: Int[Array, "n m"], rounds: int) -> Float[Array, " n"]:
    """1 / |b|, which a row keeps: a product of integers alone is no cosine, since codes differ in length."""
    square = (q * q).sum(1).astype(jnp.result_type(float))
    return 2**rounds / jnp.sqrt(square)


def sdc_distance(
    code: UInt8[Array | np.ndarray, "n m"], others: UInt8[Array | np.ndarray, "k m"], rounds: int
) -> Float[Array, "n k"]:
    """1 - the cosine of codes: 0 of equal ones, 2 of opposite ones (symmetric distance calculation)."""
    q, x = integers(code, rounds), integers(others, rounds)
    inner = (q @ x.T).astype(jnp.result_type(float))
    square = ((q * q).sum(1)[:, None].astype(inner.dtype)) * (x * x).sum(1)[None].astype(inner.dtype)
    return 1 - inner / jnp.sqrt(square)


def look_up_table(rounds: int) -> Float[np.ndarray, "k k"]:
    """Of two numbers, the product of their levels."""
    return np.outer(levels(rounds), levels(rounds))


def nibble_table() -> UInt8[np.ndarray, "16 16"]:
    """Of two nibbles, each two numbers of u = 1, (q . q' + 18) / 2: 0 to 18 and whole, as the sum of two products of odd numbers
    is even. 32 sums at a time are what SDC's byte shuffles make of it."""
    nibble = np.arange(16)
    q = 2 * np.stack([nibble & 3, nibble >> 2], axis=1) - 3
    return ((q @ q.T + 18) // 2).astype(np.uint8)


def nibbles(code: UInt8[Array | np.ndarray, "n m"]) -> UInt8[np.ndarray, "n h"]:
    """Two numbers of u = 1 in a nibble, the first in its low half."""
    code = np.asarray(code)
    return code[:, ::2] | code[:, 1::2] << 2


def by_nibbles(a: UInt8[np.ndarray, "n h"], b: UInt8[np.ndarray, "k h"]) -> Int[np.ndarray, "n k"]:
    """q . q' by the table: each entry is 9 above half of a product. In 16 bits sums would pass their end at 3641 numbers, with the
    factor 512 that SDC gives a norm far earlier; here they are wide."""
    table, total = nibble_table(), np.zeros((len(a), len(b)), np.int64)
    for i in range(a.shape[1]):
        total += table[a[:, i, None], b[None, :, i]]
    return 2 * (total - 9 * a.shape[1])


# ---- codes as bits ---------------------------------------------------------------------------------------------------------------


def planes(code: UInt8[Array, "n m"], rounds: int) -> Bool[Array, "n t m"]:
    """The bits of the numbers, the highest ones first: where each part is 1."""
    shifts = jnp.asarray(np.arange(rounds, -1, -1, dtype=np.uint8))
    return (code[:, None] >> shifts[None, :, None] & jnp.uint8(1)).astype(bool)


def plane_products(q: UInt32[Array, "b t w"], x: UInt32[Array, "t w m"], width: int) -> Int[Array, "b m"]:
    """q . q' of codes whose planes are packed in words, sum_ts 2^(2u - t - s) (m - 2 Hamming(q_t, x_s)), exactly. Twice as fast as
    a product of levels in floats for two bits a number, also of many queries (one core of a Xeon, 20 000 rows of 256)."""
    rounds = len(x) - 1
    total = jnp.zeros((len(q), x.shape[2]), jnp.int32)
    for t in range(rounds + 1):
        for s in range(rounds + 1):
            total = total + 2 ** (2 * rounds - t - s) * (width - 2 * hamming(q[:, t], x[s]))
    return total

"""Fixed dimensional encodings: a matrix of tokens as one vector, such that products of vectors are about MaxSim of the matrices.

Letters: n tokens, r repetitions, k planes of each, 2^k cells, p numbers of a projected token. An encoding has r * 2^k * p numbers:
repetitions, of each its cells, of each its numbers. See `jaxemb.index.muvera` for the formulas.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int


def sides(x: Float[Array, "n d"], planes: Float[Array, "r d k"]) -> Bool[Array, "r n k"]:
    """On which side of each plane a token lies: x . h > 0."""
    return jnp.einsum("nd,rdk->rnk", x, planes) > 0


def cell(bits: Bool[Array, "*n k"]) -> Int[Array, "*n"]:
    """The place of bits, the first the highest, in Gray's order: neighbouring cells differ in one bit."""
    number = jnp.zeros(bits.shape[:-1], jnp.int32)
    for i in range(bits.shape[-1]):
        number = (number << 1) + (bits[..., i].astype(jnp.int32) ^ (number & 1))
    return number


def cell_bits(k: int) -> Bool[np.ndarray, "c k"]:
    """The bits of each cell: those of g xor g / 2."""
    g = np.arange(2**k)
    return ((g ^ (g >> 1))[:, None] >> np.arange(k)[::-1] & 1).astype(bool)


def encode_query(
    x: Float[Array, "n d"], real: Bool[Array, " n"], planes: Float[Array, "r d k"], inner: Float[Array, "r d p"] | None = None
) -> Float[Array, " f"]:
    """The sum of the tokens of each cell. `real`: which are no padding; `inner`: what a token is multiplied with, None: nothing."""
    sums, _ = _gathered(sides(x, planes), _projected(x, inner, len(planes)), real)
    return sums.reshape(-1)


def encode_document(
    x: Float[Array, "n d"],
    real: Bool[Array, " n"],
    planes: Float[Array, "r d k"],
    inner: Float[Array, "r d p"] | None = None,
    fill: bool = True,
) -> Float[Array, " f"]:
    """The mean of the tokens of each cell. `fill`: a cell without any gets the token whose bits differ from the cell's in the
    fewest places, the first of several; else zeros."""
    bits, y = sides(x, planes), _projected(x, inner, len(planes))
    sums, counts = _gathered(bits, y, real)
    means = sums / jnp.maximum(counts, 1)[..., None]
    if fill:
        apart = (bits[:, :, None] != jnp.asarray(cell_bits(bits.shape[-1]))[None, None]).sum(-1)
        token = jnp.where(real[None, :, None], apart, bits.shape[-1] + 1).argmin(1)
        means = jnp.where((counts > 0)[..., None], means, jnp.take_along_axis(y, token[..., None], 1))
    return means.reshape(-1)


def count_sketch(x: Float[Array, "b f"], into: Int[Array, " f"], sign: Float[Array, " f"], length: int) -> Float[Array, "b l"]:
    """out_j = sum of sign_i x_i over the i that go into j: products stay, in expectation over draws of both."""
    return jax.ops.segment_sum((x * sign[None]).T, into, length).T


def carve(x: Float[Array, "n d"], real: Bool[Array, " n"], tau: float) -> tuple[Float[Array, "n d"], Bool[Array, " n"]]:
    """Fewer tokens: the first that is left and all that are left whose product with it is at least tau become their sum, and so on.
    Sums in the order in which they are found, zeros after the last one; and which are sums."""
    close = x @ x.T >= tau

    def step(i: Any, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        left, sums, some = state
        first = left.argmax()
        group = left & (close[first] | (jnp.arange(len(x)) == first))
        return left & ~group, sums.at[i].set(group.astype(x.dtype) @ x), some.at[i].set(left.any())

    _, sums, some = jax.lax.fori_loop(0, len(x), step, (real, jnp.zeros_like(x), jnp.zeros_like(real)))
    return sums, some


def draw_planes(rng: np.random.Generator, repetitions: int, width: int, k: int) -> Float[np.ndarray, "r d k"]:
    """Normals of planes through the origin."""
    return rng.normal(size=(repetitions, width, k))


def draw_dense(rng: np.random.Generator, repetitions: int, width: int, p: int) -> Float[np.ndarray, "r d p"]:
    """Entries +-1 / sqrt(p)."""
    return rng.choice([-1.0, 1.0], (repetitions, width, p)) / np.sqrt(p)


def draw_sparse(rng: np.random.Generator, repetitions: int, width: int, p: int) -> Float[np.ndarray, "r d p"]:
    """One entry +-1 a row."""
    into = rng.integers(0, p, (repetitions, width))
    return np.eye(p)[into] * rng.choice([-1.0, 1.0], (repetitions, width, 1))


def _projected(x: Float[Array, "n d"], inner: Float[Array, "r d p"] | None, repetitions: int) -> Float[Array, "r n p"]:
    return jnp.broadcast_to(x, (repetitions, *x.shape)) if inner is None else jnp.einsum("nd,rdp->rnp", x, inner)


def _gathered(
    bits: Bool[Array, "r n k"], y: Float[Array, "r n p"], real: Bool[Array, " n"]
) -> tuple[Float[Array, "r c p"], Float[Array, "r c"]]:
    """Sums over the tokens of each cell, and how many these are."""
    member = (cell(bits)[..., None] == jnp.arange(2 ** bits.shape[-1], dtype=jnp.int32)[None, None]) & real[None, :, None]
    member = member.astype(y.dtype)
    return jnp.einsum("rnc,rnp->rcp", member, y), member.sum(1)

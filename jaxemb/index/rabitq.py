"""RaBitQ: a bit a dimension of a rotated vector, from which products are estimated without bias."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, within
from jaxemb.index.base import Index, Tree
from jaxemb.ops.product_codes import products
from jaxemb.types import Paper

SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1
"""The eight signs of each byte, the first in its highest bit."""


@dataclasses.dataclass(frozen=True)
class RaBitQ(Index):
    """A row o is kept as the signs of x' = P^T (o - c) / |o - c|, P a random rotation and c the mean, and as three numbers.

    With x = sign(x') / sqrt(D) and f = <x, x'>, for a query with q' = P^T (q - c):

        <o - c, q - c> ~ |o - c| <x, q'> / f,      within |o - c| |q - c| sqrt(1 - f^2) / f * eps / sqrt(D - 1)

    without bias, the bound for all but about 2 exp(-eps^2 / 2) of the rotations. Products and distances follow from it exactly.
    D / 8 + 12 bytes a row.
    """

    paper: ClassVar[Paper | None] = Paper(
        "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound", 2024, "https://arxiv.org/abs/2405.12497"
    )
    axis: ClassVar[int] = 1

    query_bits: int | None = None
    """Of an entry of the query, rounded at random between two of 2^bits steps as in the paper; None: queries are not rounded."""
    sample: int = 2**18
    """The most rows that c is the mean of."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, sample=(1, 2**31))
        if self.query_bits is not None and not 1 <= self.query_bits <= 16:
            raise ConfigError(f"RaBitQ.query_bits={self.query_bits}: 1 to 16, or null for queries that are not rounded")

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        return {"rotation": rotation(x.shape[1], self.seed).astype(x.dtype), "centre": x.mean(0)}

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        centre = np.asarray(learned["centre"])
        code = encode(x, centre, np.asarray(learned["rotation"]))
        numbers = np.stack([code.norm, code.factor, (x - centre) @ centre])
        return {"bits": np.packbits(code.bits, axis=1).T, "numbers": numbers.astype(x.dtype)}

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        centre, (norm, factor, along) = learned["centre"], rows["numbers"]
        apart = q - centre[None]
        turned = apart @ learned["rotation"]
        if self.query_bits is not None:
            # One draw for all queries: what is found must not depend on a query's place among them.
            noise = jax.random.uniform(jax.random.key(self.seed), (1, turned.shape[1]), turned.dtype)
            turned = rounded(turned, self.query_bits, jnp.broadcast_to(noise, turned.shape)).values()
        inner = estimate(signs_times(turned, rows["bits"]), factor) * norm[None]
        if self.similarity == "euclidean":
            return 2 * inner - (norm * norm)[None] - (apart * apart).sum(1, keepdims=True)
        return inner + (q @ centre)[:, None] + along[None]


class Code(NamedTuple):
    """Of rows."""

    bits: Bool[np.ndarray, "n d"]
    norm: Float[np.ndarray, " n"]
    """|o - c|."""
    factor: Float[np.ndarray, " n"]
    """<x, x'>; 0 for c itself, which has no direction."""


def encode(x: Float[np.ndarray, "n d"], centre: Float[np.ndarray, " d"], p: Float[np.ndarray, "d d"]) -> Code:
    """What is kept of rows."""
    turned, norm = direction(x, centre, p)
    return Code(turned > 0, norm, np.abs(turned).sum(1) / np.sqrt(turned.shape[1]).astype(turned.dtype))


def direction(
    x: Float[np.ndarray, "n d"], centre: Float[np.ndarray, " d"], p: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """P^T (x - c) / |x - c|, zeros for c itself, and |x - c|."""
    apart = x - centre
    norm = np.sqrt((apart * apart).sum(1))
    return apart @ p / np.where(norm > 0, norm, 1)[:, None], norm


def signs_times(q: Float[Array, "b d"], bytes_: Any) -> Float[Array, "b m"]:
    """<x, q> with the signs x, less or more than nothing by 1 / sqrt(D), of each row: a byte is looked up in a table of eight
    entries of the query."""
    wide = jnp.pad(q, ((0, 0), (0, -q.shape[1] % 8))).reshape(len(q), -1, 8)
    signs = jnp.broadcast_to(jnp.asarray(SIGNS, q.dtype), (wide.shape[1], 256, 8))
    return products(wide, signs, bytes_, 8) / jnp.sqrt(jnp.asarray(q.shape[1], q.dtype))


def estimate(inner: Float[Array, "b m"], factor: Float[Array, " m"]) -> Float[Array, "b m"]:
    """<o, q> of unit vectors of <x, q'>; 0 for a row without a direction."""
    return jnp.where(factor > 0, inner / jnp.where(factor > 0, factor, 1)[None], 0)


def half_width(factor: Float[Array | np.ndarray, " m"], width: int, eps: float) -> Float[Array, " m"]:
    """How far the estimate may be off, of unit vectors: sqrt(1 - f^2) / f * eps / sqrt(D - 1)."""
    factor = jnp.asarray(factor)
    return jnp.sqrt(jnp.maximum(1 - factor**2, 0)) / jnp.where(factor > 0, factor, 1) * (eps / (width - 1) ** 0.5)


class Rounded(NamedTuple):
    """q ~ low + step * code."""

    codes: Int[Array, "b d"]
    low: Float[Array, "b 1"]
    step: Float[Array, "b 1"]

    def values(self) -> Float[Array, "b d"]:
        return self.low + self.step * self.codes.astype(self.low.dtype)


def rounded(q: Float[Array, "b d"], bits: int, noise: Float[Array, "b d"]) -> Rounded:
    """Each entry to one of 2^bits steps between the smallest and the largest, the lower or the higher one by `noise` in [0, 1)."""
    most = 2**bits - 1
    low, high = q.min(1, keepdims=True), q.max(1, keepdims=True)
    step = jnp.where(high > low, high - low, most) / most
    return Rounded(jnp.clip(jnp.floor((q - low) / step + noise), 0, most).astype(jnp.int32), low, step)


def rotation(width: int, seed: int) -> Float[np.ndarray, "d d"]:
    """Drawn evenly from all orthogonal matrices."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    return q * np.sign(np.diag(r))

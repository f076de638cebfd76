"""A bit a dimension: on which side of the mean a row lies."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, UInt32

from jaxemb.config import ConfigError, choices
from jaxemb.index.base import Index, Tree, rescored
from jaxemb.ops.bits import fewest, hamming, pack, signed_products
from jaxemb.ops.nearest import Best, merged
from jaxemb.ops.similarity import unit
from jaxemb.types import Paper

QUERIES = ("binary", "int8", "float32")


@dataclasses.dataclass(frozen=True)
class Binary(Index):
    """bit = [x > mean] of each dimension; the nearest by bits that differ, of which the query in numbers chooses.

    s(q, x) = 1 - 2 Hamming(bit_q, bit_x) / d                                    binary: the cosine of the signs
    s(q, x) = (q - mean) . (2 bit_x - 1) / (|q - mean| sqrt(d))                  float32, of the `times` k nearest by Hamming
                                                                                 int8: q - mean in steps of max|.| / 127
    """

    paper: ClassVar[Paper | None] = Paper(
        "Efficient Passage Retrieval with Hashing for Open-domain Question Answering", 2021, "arxiv.org/abs/2106.00882"
    )
    axis: ClassVar[int] = 1  # rows side by side: see `ops/bits.py`

    centre: bool = True
    """Around the mean; without it around zero, which wastes the bits of dimensions that have one sign nearly everywhere."""
    query: str = "float32"
    """"binary", "int8" or "float32": how a query chooses among the nearest."""
    times: int = 4
    """Candidates by Hamming distance for each row that is asked for."""
    sample: int = 2**16
    """Rows of which the mean is taken."""

    def __post_init__(self) -> None:
        choices(self, similarity=("cosine", "dot"), query=QUERIES)
        if self.times < 1 or self.sample < 1:
            raise ConfigError(f"Binary: times and sample must be at least 1, are {self.times} and {self.sample}")

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        return {"mean": x.mean(0) if self.centre else np.zeros(x.shape[1], x.dtype)}

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        return {"bits": np.asarray(_words(learned["mean"], x)).T}

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        return 1 - 2 / q.shape[1] * hamming(_words(learned["mean"], q), rows["bits"]).astype(q.dtype)

    def rescore(self, learned: Tree, rows: Tree, q: Float[Array, "b d"], places: Int[Array, "b c"]) -> Float[Array, "b c"]:
        words = jnp.moveaxis(self.take(rows, places)["bits"], 0, -1)
        q = unit(q - learned["mean"].astype(q.dtype)[None])
        if self.query == "int8":  # whole numbers, of which 32 bits hold the sums exactly
            step = jnp.abs(q).max(1, keepdims=True) / 127
            q = jnp.round(q / jnp.where(step == 0, 1, step)) * step
        return signed_products(q, words) / q.shape[1] ** 0.5

    def nearest(self, learned: Tree, rows: Tree, q: Float[Array, "b d"], mask: Bool[Array, "#b m"] | None, k: int) -> Best:
        return self.best_of(k, *self.shortlist(learned, rows, q, mask, k))

    def shortlist(self, learned: Tree, rows: Tree, q: Float[Array, "b d"], mask: Any, k: int) -> tuple[Array, ...]:
        """(distances less than nothing, scores, columns) of the candidates, which are the nearest of all devices by distance."""
        asked = _words(learned["mean"], q)
        if self.query == "binary":
            less, places = fewest(asked, rows["bits"], mask, k)
            return less, 1 + 2 / q.shape[1] * less.astype(q.dtype), places
        less, places = fewest(asked, rows["bits"], mask, min(self.times * k, self.length(rows)))
        return less, rescored(places, lambda q, places: self.rescore(learned, rows, q, places), q), places

    def best_of(self, k: int, *shortlist: Array) -> Best:
        less, scores, columns = shortlist
        near, which = jax.lax.top_k(less, min(less.shape[1], k if self.query == "binary" else self.times * k))
        scores, columns = (jnp.take_along_axis(a, which, 1) for a in (scores, columns))
        # Of equals the first row comes first.
        order = jnp.argsort(columns, axis=1)
        near, scores, columns = (jnp.take_along_axis(a, order, 1) for a in (near, scores, columns))
        return merged((jnp.where(jnp.isneginf(near), -jnp.inf, scores), columns), k)


@jax.jit
def _words(mean: Any, x: Any) -> UInt32[Array, "n w"]:
    return pack(x > mean[None])

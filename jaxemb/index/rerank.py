"""Candidates of one index, in the order of another one."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, within
from jaxemb.index.base import Index, Kept, Tree, drawn_from, padded, power_of_two, reranked
from jaxemb.index.binary import Binary
from jaxemb.index.parts import _OfParts, check_part
from jaxemb.index.scalar import Scalar
from jaxemb.ops.nearest import Best
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Rerank(_OfParts):
    """The k best by `second` of the `times` k best by `first`; both are kept.

    A bit a dimension finds candidates fast, a byte tells them apart: nine bits a dimension, and nearly the order of floats.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Efficient Passage Retrieval with Hashing for Open-domain Question Answering", 2021, "arxiv.org/abs/2106.00882"
    )

    first: Index = dataclasses.field(default_factory=Binary)
    second: Index = dataclasses.field(default_factory=Scalar)
    times: int = 4
    """Candidates for each row that is asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, times=(1, 10**6))
        check_part("Rerank.first", self.first, False)
        check_part("Rerank.second", self.second, True)
        if {self.first.similarity, self.second.similarity} != {self.similarity}:
            raise ConfigError(
                f"Rerank.similarity is {self.similarity}, that of its first index {self.first.similarity}, and of its second "
                f"{self.second.similarity}"
            )

    @property
    def parts(self) -> dict[str, Index]:
        """Both, by the names of their arrays."""
        return {"first": self.first, "second": self.second}

    @property
    def sample(self) -> int:
        return max(self.first.sample, self.second.sample)

    @property
    def largest(self) -> float:
        return min(self.first.largest, self.second.largest)

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        return {name: index.learn(drawn_from(x, index.sample)) if index.sample else {} for name, index in self.parts.items()}

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        return {name: index.encode(learned.get(name, {}), x) for name, index in self.parts.items()}

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        candidates = Kept(kept.learned.get("first", {}), kept.rows["first"], kept.count, kept.mesh)
        near = self.first.find(candidates, q, min(self.times * k, kept.count), mask)
        size = power_of_two(len(q))
        scores, places = (padded(np.asarray(a), size) for a in near)
        found = _by_second(self.second, k, kept.learned.get("second", {}), kept.rows["second"], padded(q, size), (scores, places))
        best, rows = jax.device_get(found)
        return best[: len(q)], rows[: len(q)]

    def shown(self, scores: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
        return self.second.shown(scores)

    def length(self, rows: Tree) -> int:
        return self.first.length(rows["first"])

    def compared(self, count: int) -> int:
        return self.first.compared(count)

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        """Of some rows all are compared by the second index."""
        return self.second.subset(Kept(kept.learned.get("second", {}), kept.rows["second"], kept.count), places)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _by_second(index: Index, k: int, learned: Tree, rows: Tree, q: Any, near: Any) -> Best:
    return reranked(near, lambda some, places: index.rescore(learned, rows, some, places), q, k)

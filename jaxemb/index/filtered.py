"""Search among rows that a filter lets pass: before, after or within the search of another index, as is cheapest."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.index.base import Index, Kept, Tree, power_of_two, size_of
from jaxemb.index.exact import Exact
from jaxemb.types import Paper

STRATEGIES = ("plan", "pre", "post", "in")


class Plan(NamedTuple):
    """How the queries of one filter are answered."""

    strategy: str
    """pre, post, in, or none where every row passes."""
    selectivity: float
    """The share of rows that pass."""
    compared: int
    """Rows that a query is compared with at least."""


@dataclasses.dataclass(frozen=True)
class Filtered(Index):
    """The k best of the rows that pass, s being their share.

        pre    the rows that pass are taken out, and all of them compared: s m comparisons, nothing is missed
        post   the k' = ceil(c k / s) best of all rows, less those that do not pass; while there are fewer than k, k' doubles
        in     the other index searches, and leaves out what does not pass
        plan   pre where no more than `few` rows pass, or twice what a search compares (half, where that is all rows); else post,
               where rows pass often enough; else in. Where the k' nearest show that rows which pass are rarer near the query than
               elsewhere: pre, if by their share there as many rows would have to be looked at to find c k that pass; else in

    Whatever is chosen, nothing is found that does not pass, and where fewer than k pass they are all found.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Benchmarking Filtered Approximate Nearest Neighbor Search Algorithms on Transformer-based Embedding Vectors",
        2025,
        "arxiv.org/abs/2507.21989",
    )

    index: Index = dataclasses.field(default_factory=Exact)
    """How rows are kept and compared."""
    strategy: str = "plan"
    fetch: float = 2.0
    """c."""
    few: int = 1000
    """Rows that are compared sooner than anything else is tried."""
    often: float = 0.05
    """The least selectivity of post."""
    correlated: float = 0.5
    """Of post, the least ratio of the share of rows that pass among the k' nearest to that among all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, strategy=STRATEGIES)
        if self.index.similarity != self.similarity:
            raise ConfigError(f"Filtered.similarity is {self.similarity}, and that of its index {self.index.similarity}")
        if self.fetch < 1 or self.few < 0 or not 0 <= self.often <= 1 or self.correlated < 0:
            raise ConfigError(
                f"Filtered: fetch is at least 1, few and correlated are not negative and often is a share, not {self.fetch}, "
                f"{self.few}, {self.correlated} and {self.often}"
            )

    def planned(self, count: int, passing: int, k: int) -> Plan:
        """What is tried first for `count` rows of which some pass."""
        s, search = passing / count, self.index.compared(count)
        if passing == count:
            return Plan("none", s, search)
        strategy = self.strategy
        if strategy == "plan":
            cheap = passing <= self.few or (passing <= (search / 2 if search == count else 2 * search))
            scans = search == count  # then post would compare all rows as well, and look at more than k
            strategy = "pre" if cheap else "post" if s >= self.often and not scans else "in"
        return Plan(strategy, s, passing if strategy == "pre" else max(search, 0))

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        if mask is None:
            return self.index.find(kept, q, k, None)
        filters, of = distinct(mask, len(q))
        scores, places = np.full((len(q), k), -np.inf, np.asarray(q).dtype), np.zeros((len(q), k), np.int64)
        passing = [int(np.count_nonzero(some)) for some in filters]  # far faster than a sum of bits along an axis
        plans = [self.planned(kept.count, n, k).strategy for n in passing]
        for f, strategy in enumerate(plans):
            if strategy == "pre" and passing[f]:
                rows = np.flatnonzero(of == f)
                scores[rows], places[rows] = self._before(kept, q[rows], k, filters[f])
        for strategy, find in (("none", self._whole), ("post", self._after), ("in", self.index.find)):
            rows = np.flatnonzero(np.isin(of, [f for f, s in enumerate(plans) if s == strategy]))
            if len(rows):
                seen = filters if len(filters) == 1 else filters[of[rows]]
                scores[rows], places[rows] = find(kept, q[rows], k, seen)
        return scores, places

    def _whole(self, kept: Kept, q: Any, k: int, _: Any) -> tuple[np.ndarray, np.ndarray]:
        return self.index.find(kept, q, k, None)

    def _before(self, kept: Kept, q: Any, k: int, passes: Bool[np.ndarray, " m"]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(passes)
        size = size_of(len(rows))  # so that few are compiled
        which = np.concatenate([rows, np.zeros(size - len(rows), rows.dtype)])
        index, some = self.index.subset(kept, which)
        scores, places = index.find(some, q, min(k, size), np.arange(size)[None] < len(rows))
        more = ((0, 0), (0, k - scores.shape[1]))
        return np.pad(scores, more, constant_values=-np.inf), np.pad(which[places], more)

    def _after(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"]) -> tuple[np.ndarray, np.ndarray]:
        mask = np.broadcast_to(mask, (len(q), kept.count))
        passing = mask.sum(1)
        scores, places = np.full((len(q), k), -np.inf, np.asarray(q).dtype), np.zeros((len(q), k), np.int64)
        open_ = np.flatnonzero(passing)
        n = min(math.ceil(self.fetch * k * kept.count / max(passing.min(initial=kept.count, where=passing > 0), 1)), kept.count)
        while len(open_):
            n = min(power_of_two(n), kept.count)
            near, found = self.index.find(kept, q[open_], n, None)
            some = mask[open_]
            share = np.take_along_axis(some, found, 1).mean(1) / (passing[open_] / kept.count)
            scores[open_], places[open_], got = dropped(near, found, some, k)
            done = got >= np.minimum(k, passing[open_])
            rare = ~done & (share < self.correlated) if self.strategy == "plan" else np.zeros(len(done), bool)
            if rare.any():
                looked = self.fetch * k / np.maximum(share * passing[open_] / kept.count, 1 / n)
                for row in open_[rare & (passing[open_] <= looked)]:
                    scores[row], places[row] = (a[0] for a in self._before(kept, q[row][None], k, mask[row]))
                if len(rows := open_[rare & (passing[open_] > looked)]):
                    scores[rows], places[rows] = self.index.find(kept, q[rows], k, mask[rows])
            open_, n = open_[~done & ~rare] if n < kept.count else open_[:0], 2 * n
        return scores, places

    # ---- what is kept is what the other index keeps ------------------------------------------------------------------------------

    @property
    def sample(self) -> int:
        return self.index.sample

    @property
    def largest(self) -> float:
        return self.index.largest

    def check_mesh(self) -> None:
        self.index.check_mesh()

    def blocks(self, x: Any) -> Any:
        return self.index.blocks(x)

    def prepare(self, x: Any, first: int = 0, what: str = "row") -> Any:
        return self.index.prepare(x, first, what)

    def learn(self, x: Any) -> Tree:
        return self.index.learn(x)

    def encode(self, learned: Tree, x: Any) -> Tree:
        return self.index.encode(learned, x)

    def axes(self, rows: Tree) -> Tree:
        return self.index.axes(rows)

    def join(self, parts: list[Tree]) -> Tree:
        return self.index.join(parts)

    def take(self, rows: Tree, which: Any) -> Tree:
        return self.index.take(rows, which)

    def place(self, rows: Tree) -> Tree:
        return self.index.place(rows)

    def length(self, rows: Tree) -> int:
        return self.index.length(rows)

    def compared(self, count: int) -> int:
        return self.index.compared(count)

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        return self.index.subset(kept, places)

    def shown(self, scores: Float[np.ndarray, "b k"]) -> Float[np.ndarray, "b k"]:
        return self.index.shown(scores)


def distinct(mask: Bool[np.ndarray, "#b m"], queries: int) -> tuple[Bool[np.ndarray, "f m"], Int[np.ndarray, " b"]]:
    """The filters that differ, and which of them each query has."""
    if len(mask) == 1:
        return mask, np.zeros(queries, np.int64)
    _, first, of = np.unique(np.packbits(mask, axis=1), axis=0, return_index=True, return_inverse=True)
    return mask[first], of.reshape(-1)


def dropped(
    scores: Float[np.ndarray, "b n"], places: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b m"], k: int
) -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"], Int[np.ndarray, " b"]]:
    """The first k of a list that pass, -inf after them, and how many there are."""
    passes = np.take_along_axis(mask, places, 1) & ~np.isneginf(scores)
    order = np.argsort(~passes, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(passes, order, 1)
    best = np.where(kept, np.take_along_axis(scores, order, 1), -np.inf).astype(scores.dtype)
    more = ((0, 0), (0, k - order.shape[1]))
    found = np.where(kept, np.take_along_axis(places, order, 1), 0)
    return np.pad(best, more, constant_values=-np.inf), np.pad(found, more), kept.sum(1)

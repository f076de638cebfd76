"""Hard negatives of pairs: documents that a model finds near a query although they are not its own, by exact search."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.ops.topk import largest
from jaxemb.preprocess.base import DataError

BLOCK = 2**23
"""Scores that are in memory at a time."""
KNOWN, MARGIN, PERCENTAGE, HIGHEST, GUIDE = (
    "a known positive of the query",
    "within the margin of the positive",
    "above the percentage of the positive",
    "above the highest score",
    "the guide finds it as near as the positive",
)


@dataclasses.dataclass(frozen=True)
class HardNegatives:
    """Which of the nearest documents of a query are its negatives.

        kept:  s(q, n) < s(q, p) - margin      s(q, n) < s(q, p) - (1 - percentage) |s(q, p)|      s(q, n) <= highest

    s is the cosine, p the positive of the pair. `percentage`, .95 in NV-Embed (Lee et al. 2025), is that of the positive's score
    where this is above 0; below, the absolute value keeps the threshold under it. Ranks count from 1 among the documents that are
    no known positive of the query, in any pair. A guide's scores are held to the same margin and percentage, and without either to
    be below the guide's score of the positive.
    """

    number: int = 7
    """Negatives a pair at most."""
    ranks: tuple[int, int] = (1, 100)
    """The first and the last that is looked at; (50, 100) in KaLM (Hu et al. 2025)."""
    margin: float | None = None
    percentage: float | None = None
    highest: float | None = None
    choose: str = "nearest"
    """nearest: the first that are kept; random: any of them, drawn with the seed."""
    positive_within: int | None = None
    """A pair whose positive is not among so many nearest documents is dropped, as noise (KaLM: 50); None: none is."""
    seed: int = 0

    def __post_init__(self) -> None:
        choices(self, choose=("nearest", "random"))
        if self.number < 1 or (self.positive_within is not None and self.positive_within < 1):
            raise ConfigError(f"number and positive_within must be at least 1, not {self.number} and {self.positive_within}")
        if not 1 <= self.ranks[0] <= self.ranks[1]:
            raise ConfigError(f"ranks={self.ranks}: the first and the last, counted from 1")
        if self.percentage is not None and not 0 < self.percentage <= 1:
            raise ConfigError(f"percentage must lie in (0, 1], not {self.percentage}: .95 is that of NV-Embed")
        if self.margin is not None and self.margin < 0:
            raise ConfigError(f"margin must not be negative, is {self.margin}")

    def below(
        self, negatives: Float[np.ndarray, "*b k"], positive: Float[np.ndarray, "*b"], guide: bool = False
    ) -> dict[str, Bool[np.ndarray, "*b k"]]:
        """Whether scores are low enough, by each of the rules that are on."""
        p, found = positive[..., None], {}
        if self.margin is not None:
            found[MARGIN] = negatives < p - self.margin
        if self.percentage is not None:
            found[PERCENTAGE] = negatives < p * np.where(p >= 0, self.percentage, 2 - self.percentage)
        if guide:
            return {GUIDE: np.logical_and.reduce(list(found.values()) or [negatives < p])}
        if self.highest is not None:
            found[HIGHEST] = negatives <= self.highest
        return found


class Vectors(NamedTuple):
    """Of the distinct queries and documents."""

    queries: Float[np.ndarray, "q d"]
    documents: Float[np.ndarray, "m d"]


class Mined(NamedTuple):
    """What was found; a row is a pair."""

    pairs: Int[np.ndarray, " n"]
    """Those that are kept."""
    negatives: list[Int[np.ndarray, " k"]]
    """Documents of each, nearest first."""
    scores: list[Float[np.ndarray, " 1+k"]]
    """Of the positive and of each negative."""
    dropped: dict[str, int]
    """Why documents were left out, and how many."""
    far: int
    """Pairs that were dropped, because their positive is too far."""
    short: int
    """Pairs that have fewer negatives than were asked for."""


def mine(
    rule: HardNegatives,
    pairs: Sequence[tuple[int, int]],
    vectors: Vectors,
    *,
    guide: Vectors | None = None,
    not_for: Sequence[tuple[int, int]] = (),
) -> Mined:
    """The negatives of pairs (query, document). `not_for`: further (query, document) that are not to be paired, such as a document
    that is the query itself. Equal arguments give equal negatives."""
    _check(pairs, vectors, guide)
    given, other = _unit(vectors), None if guide is None else _unit(guide)
    known: dict[int, set[int]] = {}
    for query, document in (*pairs, *not_for):
        known.setdefault(query, set()).add(document)
    size = max(BLOCK // len(given.documents), 1)
    kept, negatives, scores, dropped, far, short = [], [], [], Counter(), 0, 0
    for start in range(0, len(pairs), size):
        block = np.array(pairs[start : start + size])
        s = given.queries[block[:, 0]] @ given.documents.T
        for i, (query, document) in enumerate(block.tolist()):
            positive = s[i, document]
            hidden = np.fromiter(known[query], np.int64)
            dropped[KNOWN] += len(hidden)
            if rule.positive_within is not None and (s[i] > positive).sum() >= rule.positive_within:
                far += 1
                continue
            s[i, hidden] = -np.inf
            near = _window(s[i], rule.ranks, len(hidden))
            tests = rule.below(s[i, near], np.asarray(positive))
            if other is not None:
                g = other.documents[near] @ other.queries[query]
                tests |= rule.below(g, np.asarray(other.documents[document] @ other.queries[query]), guide=True)
            good = np.ones(len(near), bool)
            for reason, passed in tests.items():
                dropped[reason] += int((good & ~passed).sum())  # by the first rule that it breaks
                good &= passed
            chosen = _chosen(near[good], rule, start + i)
            kept.append(start + i)
            negatives.append(chosen)
            scores.append(np.concatenate([[positive], s[i, chosen]]))
            short += len(chosen) < rule.number
    return Mined(np.array(kept, np.int64), negatives, scores, {k: n for k, n in dropped.items() if n}, far, short)


def _window(scores: Float[np.ndarray, " m"], ranks: tuple[int, int], hidden: int) -> Int[np.ndarray, " k"]:
    last = min(ranks[1], len(scores) - hidden)
    return largest(scores[None], last)[0][ranks[0] - 1 :] if last > 0 else np.zeros(0, np.int64)


def _chosen(near: Int[np.ndarray, " k"], rule: HardNegatives, pair: int) -> Int[np.ndarray, " n"]:
    if rule.choose == "nearest" or len(near) <= rule.number:
        return near[: rule.number]
    rng = np.random.default_rng([rule.seed, pair])
    return near[np.sort(rng.choice(len(near), rule.number, replace=False))]


def _unit(v: Vectors) -> Vectors:
    return Vectors(*(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in v))


def _check(pairs: Sequence[tuple[int, int]], vectors: Vectors, guide: Vectors | None) -> None:
    if not pairs:
        raise DataError("there are no pairs to find negatives for")
    if guide is not None and tuple(map(len, guide)) != tuple(map(len, vectors)):
        raise DataError(
            f"the guide has {len(guide.queries)} queries and {len(guide.documents)} documents, the model "
            f"{len(vectors.queries)} and {len(vectors.documents)}: both embed the same texts"
        )

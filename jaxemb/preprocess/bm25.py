"""BM25: exact scores of texts by the words that they share with queries, beside which any embedding is to be held."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from jaxemb.config import choices, within
from jaxemb.preprocess.base import DataError
from jaxemb.types import Paper

WORD = re.compile(r"\w+")

Counts = Mapping[Hashable, int]
"""How often each word is in a text."""

IDF: dict[str, Callable[[int, int], float]] = {
    "lucene": lambda n, df: math.log(1 + (n - df + 0.5) / (df + 0.5)),
    "lucene_k1p1": lambda n, df: math.log(1 + (n - df + 0.5) / (df + 0.5)),
    "robertson": lambda n, df: math.log(max((n - df + 0.5) / (df + 0.5), 1)),
    "okapi": lambda n, df: math.log((n - df + 0.5) / (df + 0.5)),
    "atire": lambda n, df: math.log(n / df),
    "bm25l": lambda n, df: math.log((n + 1) / (df + 0.5)),
    "bm25plus": lambda n, df: math.log((n + 1) / df),
    "bm25plus_paper": lambda n, df: math.log((n + 1) / df),
}
"""By variant, of n documents and the df of them that hold a word."""
UNSCALED = ("lucene", "robertson")
ABSENT = ("bm25l", "bm25plus")
"""Variants in which a word counts where it is not, too."""


def words(text: str) -> list[str]:
    """Lower case, whatever stands between letters, digits and underscores left out."""
    return WORD.findall(text.lower())


@dataclasses.dataclass(frozen=True)
class BM25:
    """score(q, d) = sum over words w of q of idf(w) t(w, d), K = k1 (1 - b + b |d| / mean |d|), df of the n documents having w:

        lucene          idf = ln(1 + (n - df + 1/2) / (df + 1/2))       t = tf / (tf + K)
        lucene_k1p1     the same                                        t = (k1 + 1) tf / (tf + K), as Lucene before 8
        robertson       idf = ln max(1, (n - df + 1/2) / (df + 1/2))    t = tf / (tf + K)
        okapi           idf = ln((n - df + 1/2) / (df + 1/2))           t = (k1 + 1) tf / (tf + K); below 0 for frequent words
        atire           idf = ln(n / df)                                t = (k1 + 1) tf / (tf + K)
        bm25l           idf = ln((n + 1) / (df + 1/2))                  t = (k1 + 1) (c + delta) / (k1 + c + delta), c = k1 tf / K
        bm25plus        idf = ln((n + 1) / df)                          t = (k1 + 1) tf / (tf + K) + delta
        bm25plus_paper  the same                                        t = the same where tf > 0, else 0

    In bm25l and bm25plus a word of the query counts in documents without it too, as in the package bm25s, whose numbers the five
    of lucene, robertson, atire, bm25l and bm25plus are; the other three it does not have. A word that a query says twice counts
    twice. Which one it is hardly matters (Kamphuis et al. 2020); that it is said does.
    """

    paper: ClassVar[Paper | None] = Paper(
        "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, "doi.org/10.1561/1500000019"
    )

    k1: float = 1.2
    """How soon repetitions of a word stop counting."""
    b: float = 0.75
    """How much long texts are held against their length: 0 not at all, 1 in full."""
    variant: str = "lucene"
    """lucene, lucene_k1p1, robertson, okapi, atire, bm25l, bm25plus, bm25plus_paper"""
    delta: float = 0.5
    """What a word counts at least, of bm25l, bm25plus, bm25plus_paper; the paper of BM25+ has 1."""

    def __post_init__(self) -> None:
        within(self, k1=(0.0, 100.0), b=(0.0, 1.0), delta=(0.0, 100.0))
        choices(self, variant=tuple(IDF))

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Float[np.ndarray, "q n"]:
        """Of all pairs."""
        return self.over(documents)(queries)

    def over(self, documents: Sequence[str]) -> Callable[[Sequence[str]], Float[np.ndarray, "q n"]]:
        """The scores of queries with documents that are read once."""
        score = self.over_counts([Counter(words(text)) for text in documents])
        return lambda queries: score([Counter(words(text)) for text in queries])

    def over_counts(self, documents: Sequence[Counts]) -> Callable[[Sequence[Counts]], Float[np.ndarray, "q n"]]:
        """The same of texts that were cut into words, or anything else, and counted."""
        if not len(documents):
            raise DataError("BM25 has no documents to search")
        lengths = np.array([sum(count.values()) for count in documents], np.float64)
        longer = 1 - self.b + self.b * lengths / (lengths.mean() or 1.0)
        holding: dict[Hashable, tuple[list[int], list[int]]] = {}
        for i, count in enumerate(documents):
            for word, times in count.items():
                where, how_often = holding.setdefault(word, ([], []))
                where.append(i)
                how_often.append(times)
        read = {word: (np.asarray(where), np.asarray(tf, np.float64)) for word, (where, tf) in holding.items()}

        def score(queries: Sequence[Counts]) -> Float[np.ndarray, "q n"]:
            found = np.zeros((len(queries), len(documents)))
            for row, query in zip(found, queries, strict=True):
                for word, times in query.items():
                    if word in read:
                        where, tf = read[word]
                        idf = times * IDF[self.variant](len(documents), len(where))
                        absent = self._absent()
                        row += idf * absent
                        row[where] += idf * (self._of(tf, longer[where]) - absent)
            return found

        return score

    def _of(self, tf: Float[np.ndarray, " n"], longer: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """t(w, d) where the word is; `longer`: K / k1."""
        if self.variant == "bm25l":
            c = tf / longer
            return (self.k1 + 1) * (c + self.delta) / (self.k1 + c + self.delta)
        t = tf / (tf + self.k1 * longer)
        t = t if self.variant in UNSCALED else (self.k1 + 1) * t
        return t + self.delta if self.variant.startswith("bm25plus") else t

    def _absent(self) -> float:
        """t(w, d) where it is not."""
        if self.variant not in ABSENT or not self.delta:
            return 0.0
        return self.delta if self.variant == "bm25plus" else (self.k1 + 1) * self.delta / (self.k1 + self.delta)

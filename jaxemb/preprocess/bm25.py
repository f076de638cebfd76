"""BM25: exact scores of texts by the words that they share with queries, beside which any embedding is to be held."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from jaxemb.config import within
from jaxemb.preprocess.base import DataError
from jaxemb.types import Paper

WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower case, whatever stands between letters, digits and underscores left out."""
    return WORD.findall(text.lower())


@dataclasses.dataclass(frozen=True)
class BM25:
    """score(q, d) = sum over words w of q of idf(w) (k1 + 1) tf / (tf + k1 (1 - b + b |d| / mean |d|))

    with idf(w) = ln(1 + (N - df + 1/2) / (df + 1/2)), which is never negative. A word that a query says twice counts twice.
    """

    paper: ClassVar[Paper | None] = Paper(
        "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, "doi.org/10.1561/1500000019"
    )

    k1: float = 1.2
    """How soon repetitions of a word stop counting."""
    b: float = 0.75
    """How much long texts are held against their length: 0 not at all, 1 in full."""

    def __post_init__(self) -> None:
        within(self, k1=(0.0, 100.0), b=(0.0, 1.0))

    def scores(self, queries: Sequence[str], documents: Sequence[str]) -> Float[np.ndarray, "q n"]:
        """Of all pairs; 0 where no word is shared."""
        if not len(documents):
            raise DataError("BM25 has no documents to search")
        counts = [Counter(words(text)) for text in documents]
        lengths = np.array([c.total() for c in counts], np.float64)
        mean = lengths.mean() or 1.0
        holding: dict[str, tuple[list[int], list[int]]] = {}
        for i, count in enumerate(counts):
            for word, times in count.items():
                where, how_often = holding.setdefault(word, ([], []))
                where.append(i)
                how_often.append(times)
        found = np.zeros((len(queries), len(documents)))
        for row, query in zip(found, queries, strict=True):
            for word, times in Counter(words(query)).items():
                if word in holding:
                    where, tf = map(np.asarray, holding[word])
                    idf = math.log(1 + (len(documents) - len(where) + 0.5) / (len(where) + 0.5))
                    row[where] += times * idf * (self.k1 + 1) * tf / (tf + self.k1 * (1 - self.b + self.b * lengths[where] / mean))
        return found

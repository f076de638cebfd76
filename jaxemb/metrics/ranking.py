"""Figures of a ranking: how high the documents stand that are relevant to a query. Each gives a number a query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError

UNJUDGED, ABSENT = -1, -2
"""In the place of a grade: nobody judged this document; nothing more was retrieved."""
GAINS = ("linear", "exponential")


class Ranking(NamedTuple):
    """What was found, and what there was to find. A document of grade 1 or more is relevant."""

    grades: Int[np.ndarray, "q k"]
    """The grade of the document at each rank, the first first; `UNJUDGED`, or `ABSENT` after the last."""
    judged: Int[np.ndarray, "q m"]
    """The grades of all judgements of the query, in any order; padded with `UNJUDGED`."""

    @property
    def relevant(self) -> Int[np.ndarray, " q"]:
        """How many documents are relevant."""
        return (self.judged > 0).sum(1)


def trec_order(scores: Float[np.ndarray, "q n"], retrieved: Bool[np.ndarray, "q n"]) -> Int[np.ndarray, "q n"]:
    """The columns as trec_eval ranks them: by falling score, of equals the higher column first; -1 after the retrieved ones."""
    last = scores.shape[1] - 1
    order = last - np.argsort(np.where(retrieved, -scores, np.inf)[:, ::-1], axis=1, kind="stable")
    return np.where(np.arange(last + 1) < retrieved.sum(1, keepdims=True), order, -1)


def ranking(order: Int[np.ndarray, "q k"], grades: Int[np.ndarray, "q n"]) -> Ranking:
    """Of columns by rank (-1: no more) and the grade of every column, below 0 where there is no judgement."""
    grades = np.maximum(grades, UNJUDGED)
    return Ranking(np.where(order < 0, ABSENT, np.take_along_axis(grades, np.maximum(order, 0), 1)), grades)


def dcg(grades: Int[np.ndarray, "q k"], gain: str = "linear") -> Float[np.ndarray, " q"]:
    """sum over ranks r of gain(grade) / log2(r + 1), the gain being the grade, or 2^grade - 1."""
    if gain not in GAINS:
        raise ConfigError(f"gain={gain!r}; valid: {', '.join(GAINS)}")
    positive = np.maximum(grades, 0).astype(np.float64)
    gains = positive if gain == "linear" else np.exp2(positive) - 1
    return np.einsum("qk,k->q", gains, 1 / np.log2(np.arange(grades.shape[1]) + 2))


def ndcg(r: Ranking, k: int | None = None, *, gain: str = "linear") -> Float[np.ndarray, " q"]:
    """DCG of the first k over that of the best ranking of all judged documents (Järvelin & Kekäläinen 2002); 0 where none is
    relevant. The linear gain is trec_eval's."""
    best = -np.sort(-r.judged, axis=1)
    return over(dcg(r.grades[:, :k], gain), dcg(best[:, :k], gain))


def reciprocal_rank(r: Ranking, k: int | None = None) -> Float[np.ndarray, " q"]:
    """1 / rank of the first relevant document among the first k; 0 where there is none."""
    hits = r.grades[:, :k] > 0
    return over(hits.max(1) + 0, hits.argmax(1) + 1) if hits.shape[1] else np.zeros(len(hits))


def precision(r: Ranking, k: int) -> Float[np.ndarray, " q"]:
    """Relevant ones among the first k, over k, also where fewer were retrieved."""
    return (r.grades[:, :k] > 0).sum(1) / k


def recall(r: Ranking, k: int | None = None) -> Float[np.ndarray, " q"]:
    """Relevant ones among the first k, over all that are relevant."""
    return over((r.grades[:, :k] > 0).sum(1), r.relevant)


def success(r: Ranking, k: int) -> Float[np.ndarray, " q"]:
    """1 where one of the first k is relevant."""
    return ((r.grades[:, :k] > 0).sum(1) > 0).astype(np.float64)


def average_precision(r: Ranking, k: int | None = None, *, divisor: str = "relevant") -> Float[np.ndarray, " q"]:
    """Precision at the rank of each relevant document of the first k, summed, over all that are relevant; toolkits also divide by
    min(k, all that are relevant) ("least") or by k ("k")."""
    if divisor not in ("relevant", "least", "k") or (k is None and divisor != "relevant"):
        raise ConfigError(f"divisor={divisor!r} with k={k}; valid: relevant, and with a k least, k")
    hits = r.grades[:, :k] > 0
    at = hits.cumsum(1) / (np.arange(hits.shape[1]) + 1)
    by = (
        r.relevant
        if k is None or divisor == "relevant"
        else np.minimum(r.relevant, k)
        if divisor == "least"
        else np.full(len(hits), k)
    )
    return over((at * hits).sum(1), by)


def r_precision(r: Ranking) -> Float[np.ndarray, " q"]:
    """Precision at as many ranks as there are relevant documents."""
    first = np.arange(r.grades.shape[1]) < r.relevant[:, None]
    return over(((r.grades > 0) & first).sum(1), r.relevant)


def bpref(r: Ranking) -> Float[np.ndarray, " q"]:
    """sum over retrieved relevant documents of 1 - min(n, R) / min(N, R), over R (Buckley & Voorhees 2004): R relevant, N judged
    not to be, n of those ranked above. Documents without a judgement do not count."""
    relevant, wrong = r.relevant[:, None], (r.judged == 0).sum(1)[:, None]
    above = (r.grades == 0).cumsum(1)
    loss = np.minimum(above, relevant) / np.maximum(np.minimum(wrong, relevant), 1)
    return over(((r.grades > 0) * (1 - loss)).sum(1), relevant[:, 0])


def over(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, " q"]:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(len(a)), where=b > 0)


def strict_ranks(scores: Float[np.ndarray, "q n"], relevant: Bool[np.ndarray, "q n"]) -> Int[np.ndarray, " q"]:
    """The rank, from 1 on, of the best relevant column of each row: 1 + how many score strictly higher, ties in its favour."""
    if not relevant.any(1).all():
        raise ConfigError(f"row {int((~relevant.any(1)).argmax())} has no relevant column: there is no rank")
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    return 1 + ((scores > best) & ~relevant).sum(1)


def median_rank(ranks: Int[np.ndarray, " q"]) -> float:
    """MedR; of an even number the mean of the two in the middle."""
    return float(np.median(ranks))


def within(ranks: Int[np.ndarray, " q"], k: int) -> float:
    """R@k of image-text retrieval: the share of rows whose first relevant column is among the first k."""
    return float((ranks <= k).mean())

"""How well a score tells pairs that belong together from those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxemb.metrics.correlation import average_ranks


class Cut(NamedTuple):
    """The best place to cut: pairs that score `threshold` or more are said to belong together."""

    value: float
    """Of what was made as large as can be."""
    threshold: float
    """Halfway between the two scores on either side; the lowest score where all belong together, the next number above the highest
    where none do."""
    precision: float
    recall: float


def best_accuracy(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Cut:
    """The largest share of pairs on the right side of a cut."""
    return _best(scores, labels, lambda said, right, positives, n: (right + (n - positives) - (said - right)) / n)


def best_f1(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> Cut:
    """The largest 2 P R / (P + R), P and R the precision and recall of what is above a cut."""
    return _best(scores, labels, lambda said, right, positives, n: 2 * right / np.maximum(said + positives, 1))


def _best(scores: np.ndarray, labels: np.ndarray, figure: Callable[..., np.ndarray]) -> Cut:
    """Over the cuts that a threshold can make, equal scores on one side; of equals the first, as sentence-transformers 6.2 does."""
    by = np.argsort(-scores, kind="stable")
    scores, labels = np.asarray(scores, np.float64)[by], labels[by]
    n, positives = len(labels), int(labels.sum())
    said = np.concatenate([[0], np.flatnonzero(np.diff(scores) != 0) + 1, [n]])
    right = np.concatenate([[0], labels.cumsum()])[said]
    values = figure(said, right, positives, n)
    best = int(values.argmax())
    count, hits = int(said[best]), int(right[best])
    ends = {0: float(np.nextafter(scores[0], np.inf)), n: float(scores[-1])}
    threshold = ends[count] if count in ends else float(scores[count - 1] + scores[count]) / 2
    return Cut(float(values[best]), threshold, hits / max(count, 1), hits / max(positives, 1))


def average_precision(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """sum over the cuts of (recall - recall before) precision; equal scores are one cut, so their order does not matter."""
    by = np.argsort(-scores, kind="stable")
    scores, labels = scores[by], labels[by]
    ends = np.append(np.flatnonzero(np.diff(scores) != 0), len(scores) - 1)
    right = labels.cumsum()[ends]
    return float((np.diff(right, prepend=0) * right / (ends + 1)).sum() / right[-1]) if right[-1] else 0.0


def auc(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """The share of (positive, negative) pairs in which the positive scores higher, a tie counting half; NaN without either."""
    positives = int(labels.sum())
    others = len(labels) - positives
    if not positives or not others:
        return float("nan")
    return float((average_ranks(scores)[labels > 0].sum() - positives * (positives + 1) / 2) / (positives * others))

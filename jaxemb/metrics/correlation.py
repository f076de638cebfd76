"""Correlation of two lists of numbers, by value and by rank."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def pearson(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """sum (x - mean x) (y - mean y) / (n std x std y); NaN where one of them does not vary."""
    x, y = (np.asarray(a, np.float64) - np.mean(a, dtype=np.float64) for a in (x, y))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / scale, -1.0, 1.0)) if scale > 0 else float("nan")


def spearman(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Pearson's correlation of the ranks (Spearman 1904)."""
    return pearson(average_ranks(x), average_ranks(y))


def kendall(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """tau-b = (concordant - discordant pairs) / sqrt((pairs - ties of x) (pairs - ties of y)) (Kendall 1945); NaN where one of them
    does not vary."""
    x, y = np.asarray(x), np.asarray(y)
    agree = untied_x = untied_y = 0
    for i in range(1, len(x)):  # a row of the matrix of pairs at a time
        a, b = np.sign(x[:i] - x[i]), np.sign(y[:i] - y[i])
        agree, untied_x, untied_y = agree + int((a * b).sum()), untied_x + np.count_nonzero(a), untied_y + np.count_nonzero(b)
    return float(agree / np.sqrt(float(untied_x) * untied_y)) if untied_x and untied_y else float("nan")


def average_ranks(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]

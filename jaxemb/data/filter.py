"""Filtering of examples by how well a linear model predicts their labels from embeddings: AfLite."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import within
from jaxemb.preprocess.base import DataError
from jaxemb.types import Paper

NEWTON = 100
"""Steps of a fit at most; it takes about eight."""
Fitted = tuple[Float[np.ndarray, " d"], float]
"""Coefficients and intercept."""


class Filtered(NamedTuple):
    """What a filter leaves, and why."""

    kept: Int[np.ndarray, " n"]
    """Rows that are left, in their order."""
    removed: tuple[Int[np.ndarray, " k"], ...]
    """Of each round, the most predictable first."""
    scores: tuple[Float[np.ndarray, " n"], ...]
    """Of each round and row the predictability, -1 of rows that were removed before."""


@dataclasses.dataclass(frozen=True)
class AfLite:
    """Drops what linear models predict from embeddings too often: artefacts of a data set that a model would exploit.

    A round parts the rows that are left `partitions` times at random in `size` for training and the rest, fits a logistic
    regression on the first and lets it predict the rest; a row's score is the share of its predictions that are right (0 where it
    was never predicted). The `cut` rows of the highest scores of at least `threshold` go, of equal ones the first; it ends when
    fewer than `cut` go, or no more than `size` are left. Features are standardised once, over all rows; the regression has C = 1.

    A `cut` above some 5 % of the rows overshoots: what is left is then predicted *below* chance. The embeddings must come from a
    model that has not seen these rows. Labels may drift out of balance: look.
    """

    paper: ClassVar[Paper | None] = Paper(
        "WinoGrande: An Adversarial Winograd Schema Challenge at Scale", 2020, "arxiv.org/abs/1907.10641"
    )

    size: int = 10_000
    """m, rows that a linear model is trained on."""
    partitions: int = 64
    """n"""
    cut: int = 500
    """k, rows that a round removes at most."""
    threshold: float = 0.75
    """tau; above 1 nothing goes."""
    seed: int = 0

    def __post_init__(self) -> None:
        within(self, size=(2, 2**31), partitions=(1, 2**20), cut=(1, 2**31), threshold=(0, 2))

    def __call__(self, x: np.ndarray, y: np.ndarray) -> Filtered:
        """`x` (n d): embeddings, `y` (n): labels 0 and 1."""
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise DataError(f"AfLite takes features (n, d) and labels (n,), not {x.shape} and {y.shape}")
        if not np.isin(y, (0, 1)).all():
            raise DataError(f"AfLite takes labels 0 and 1, here are {np.unique(y)[:5].tolist()}")
        if not np.isfinite(x).all():
            raise DataError(f"AfLite: row {int((~np.isfinite(x)).any(1).argmax())} has features that are no finite numbers")
        rng, z = np.random.default_rng(self.seed), standardised(x)
        left, removed, scores = np.arange(len(y)), [], []
        while len(left) > self.size:
            parted = (rng.permutation(left) for _ in range(self.partitions))
            score = self.scores(z, y, left, parted)
            gone = self.chosen(score, left)
            scores.append(score)
            removed.append(gone)
            left = np.setdiff1d(left, gone)
            if len(gone) < self.cut:
                break
        return Filtered(left, tuple(removed), tuple(scores))

    def scores(self, z: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], left: np.ndarray, parted: Iterator) -> np.ndarray:
        """Of a round: `parted` are orders of the rows that are `left`, of which the first `size` are trained on."""
        right, times = np.zeros(len(y)), np.zeros(len(y))
        for order in parted:
            train, rest = order[: self.size], order[self.size :]
            coefficients, intercept = fit(z[train], y[train])
            right[rest] += (z[rest] @ coefficients + intercept > 0) == (y[rest] == 1)
            times[rest] += 1
        score = np.full(len(y), -1.0)
        score[left] = right[left] / np.maximum(times[left], 1)
        return score

    def chosen(self, score: Float[np.ndarray, " n"], left: Int[np.ndarray, " m"]) -> Int[np.ndarray, " k"]:
        """Which of the rows that are left go, the most predictable first."""
        able = left[score[left] >= self.threshold]
        return able[np.argsort(-score[able], kind="stable")][: self.cut]


def standardised(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Mean 0 and deviation 1 of each feature; one that is constant stays at 0."""
    x = np.asarray(x, np.float64)
    constant, deviation = (x == x[:1]).all(0), x.std(0)  # by value: the mean of equal numbers can differ from them by rounding
    return np.where(constant, 0.0, (x - x.mean(0)) / np.where(constant | (deviation == 0), 1.0, deviation))


def fit(z: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"]) -> Fitted:
    """Logistic regression: least w^2 / 2 + sum_i softplus(-s_i (z_i w + c)), s = 2 y - 1 (C = 1, c free). Where all labels are the
    same, that label.

    By Newton's method with halved steps, to rounding: what is left does not depend on where a solver stops.
    """
    if len(np.unique(y)) < 2:
        return np.zeros(z.shape[1]), float(y[0]) - 0.5
    wide, sign = np.concatenate([z, np.ones((len(z), 1))], 1), 2.0 * y - 1
    ridge = np.append(np.ones(z.shape[1]), 0.0)

    def loss(w: np.ndarray) -> float:
        return ridge @ w**2 / 2 + np.logaddexp(0, -sign * (wide @ w)).sum()

    w = np.zeros(wide.shape[1])
    value = loss(w)
    for _ in range(NEWTON):
        p = 1 / (1 + np.exp(np.clip(sign * (wide @ w), -500, 500)))
        gradient = ridge * w - wide.T @ (sign * p)
        if np.abs(gradient).max() < 1e-10 * len(z):
            break
        curvature = (wide.T * (p * (1 - p))) @ wide + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while (lower := loss(w - share * step)) > value and share > 1e-6:
            share /= 2
        w, value = w - share * step, lower
    return w[:-1], float(w[-1])

"""How well the sentences of reports are given their sections."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def generalised_f1(truth: Int[np.ndarray, " n"], prediction: Int[np.ndarray, " n"]) -> float:
    """G.F1 of one report (Kuling et al. 2022), the generalised Dice of segmentation: 1 is best.

        2 sum_c w_c TP_c / sum_c w_c (2 TP_c + FP_c + FN_c),   w_c = 1 / (n_c + .01)^2,   n_c = sentences of class c

    over the classes of truth or prediction. Rare classes weigh most: a class that is predicted and not there weighs 10^4, and the
    figure is about 0, as published.
    """
    above = below = 0.0
    for c in np.union1d(truth, prediction):
        hit = float(np.sum((truth == c) & (prediction == c)))
        missed = float(np.sum((truth == c) != (prediction == c)))
        weight = 1 / (float(np.sum(truth == c)) + 0.01) ** 2
        above, below = above + 2 * weight * hit, below + weight * (2 * hit + missed)
    return above / below


def section_scores(
    truth: Int[np.ndarray, " n"], prediction: Int[np.ndarray, " n"], report: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """`accuracy` and `g_f1` of each report, in the mean over reports. `report`: which one a sentence is of."""
    each = [report == r for r in np.unique(report)]
    return {
        "accuracy": float(np.mean([(truth[own] == prediction[own]).mean() for own in each])),
        "g_f1": float(np.mean([generalised_f1(truth[own], prediction[own]) for own in each])),
    }

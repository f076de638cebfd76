"""How far clusters agree with classes; what either is called does not matter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Agreement(NamedTuple):
    """1 is best in each."""

    homogeneity: float
    """1 - H(class | cluster) / H(class): 1 where each cluster holds one class."""
    completeness: float
    """1 - H(cluster | class) / H(cluster): 1 where each class lies in one cluster."""
    v_measure: float
    """(1 + beta) h c / (beta h + c) (Rosenberg & Hirschberg 2007)."""
    ari: float
    """Rand index over pairs, less what chance gives (Hubert & Arabie 1985)."""
    nmi: float
    """Mutual information over the mean of the two entropies."""
    ami: float
    """The same, less what chance gives (Vinh et al. 2010)."""


def agreement(classes: Int[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], *, beta: float = 1.0) -> Agreement:
    """All six; beta above 1 weights completeness more."""
    from sklearn import metrics

    parts = metrics.homogeneity_completeness_v_measure(classes, clusters, beta=beta)
    rest = (metrics.adjusted_rand_score, metrics.normalized_mutual_info_score, metrics.adjusted_mutual_info_score)
    return Agreement(*map(float, parts), *(float(figure(classes, clusters)) for figure in rest))

"""alpha-ReQ: how fast the eigenvalues of the features fall."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def eigenspectrum(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """Eigenvalues of the covariance (centred, divided by n), largest first."""
    x = np.asarray(x, np.float64)
    x = x - x.mean(0)
    return np.linalg.eigvalsh(x.T @ x / len(x))[::-1]


def alpha_req(x: Float[np.ndarray, "n d"], *, first: int = 3, last: int | None = None) -> float:
    """alpha of ln eigenvalue_i = c - alpha ln i, by least squares over i = first .. last, counted from 1 (Agrawal et al. 2022).

    Near 1 is best according to the paper; below, the spectrum is too flat, above, too concentrated. The range is a hidden
    hyper-parameter: compare values of one range only. By default it leaves out two at the head, and the last quarter of the rank.

    Eigenvalues that are zero but for rounding have no logarithm worth fitting: n rows have at most n - 1 others, and a range never
    goes beyond them. NaN where fewer than two are left.
    """
    eigenvalues = eigenspectrum(x)
    rank = int((eigenvalues > eigenvalues[0] * max(x.shape) * np.finfo(np.float64).eps).sum())
    last = min(last or max(first + 1, 3 * rank // 4), rank)
    index = np.arange(first, last + 1)
    if len(index) < 2:
        return float("nan")
    return float(-np.polyfit(np.log(index), np.log(eigenvalues[index - 1]), 1)[0])

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
    hyper-parameter: compare values of one range only. By default it leaves out two at the head, and the last quarter.
    """
    eigenvalues = eigenspectrum(x)
    last = last or max(first + 1, 3 * len(eigenvalues) // 4)
    index = np.arange(first, last + 1)
    return float(-np.polyfit(np.log(index), np.log(np.maximum(eigenvalues[index - 1], 1e-300)), 1)[0])

"""LiDAR: the effective rank of what tells images apart, against what tells views apart."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def lidar_spectrum(e: Float[np.ndarray, "n q d"], *, delta: float = 1e-4) -> Float[np.ndarray, " d"]:
    """Eigenvalues of S_w^-1/2 S_b S_w^-1/2, largest first, for q views of n images.

    S_b is the covariance of the means of the images (divided by n - 1), S_w that of the views around them (by n (q - 1)), plus
    delta on the diagonal.
    """
    e = np.asarray(e, np.float64)
    n, q, d = e.shape
    means = e.mean(1)
    between = np.cov(means, rowvar=False).reshape(d, d)
    around = (e - means[:, None]).reshape(n * q, d)
    within = around.T @ around / (n * (q - 1)) + delta * np.eye(d)
    values, vectors = np.linalg.eigh(within)
    root = vectors / np.sqrt(values) @ vectors.T
    return np.maximum(np.linalg.eigvalsh(root @ between @ root)[::-1], 0)


def lidar(e: Float[np.ndarray, "n q d"], *, delta: float = 1e-4, eps: float = 1e-8) -> float:
    """exp(-sum p ln p) with p = eigenvalues / their sum + eps (Thilak et al., ICLR 2024; constants from memory, unverified)."""
    values = lidar_spectrum(e, delta=delta)
    p = values / values.sum() + eps
    return float(np.exp(-(p * np.log(p)).sum()))

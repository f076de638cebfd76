"""RankMe: the effective rank of embeddings."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def rankme(z: Float[np.ndarray, "n d"], *, eps: float = 1e-7, centre: bool = False) -> float:
    """exp(-sum_k p_k ln p_k) with p_k = s_k / sum_j s_j + eps, s the singular values of z (Garrido et al., ICML 2023).

    As in the paper: neither centred nor row-normalised, singular values and not their squares, p not renormalised after eps.
    Between 1 (all rows on a line) and min(n, d), up to eps. Computed in float64: in float32, rounding alone would lift the value
    of collapsed embeddings by units. `centre=True` subtracts the mean row first, which is another number.
    """
    z = np.asarray(z, np.float64)
    z = z - z.mean(0) if centre else z
    # R of a QR decomposition has the singular values of z and only d rows: fast for n >> d without squaring the condition.
    s = np.linalg.svd(np.linalg.qr(z, mode="r") if len(z) > z.shape[1] else z, compute_uv=False)
    if s.sum() == 0:
        return 1.0
    p = s / s.sum() + eps
    return float(np.exp(-(p * np.log(p)).sum()))

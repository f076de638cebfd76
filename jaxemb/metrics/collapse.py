"""Whether embeddings still differ from each other, and how much of them is nothing but the place of a patch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from jaxemb.ops.similarity import unit


def spread(z: Float[np.ndarray, "n d"]) -> float:
    """sqrt(mean variance of a feature / mean square): 0 where all rows are alike, 1 where they share no mean. Scale-free."""
    z = np.asarray(z, np.float64)
    return float(np.sqrt(z.var(0).mean() / max((z**2).mean(), 1e-300)))


def mean_cosine(z: Float[np.ndarray, "n d"]) -> float:
    """The mean cosine of two different rows: 1 where all point one way."""
    z = unit(np.asarray(z, np.float64))
    n = len(z)
    return float(((z.sum(0) ** 2).sum() - (z**2).sum()) / (n * (n - 1)))


def position_share(x: Float[np.ndarray, "b n d"]) -> float:
    """The share of the variance of patch features that their place alone explains: that of the mean over images at each place."""
    x = np.asarray(x, np.float64)
    total = x.reshape(-1, x.shape[-1]).var(0).sum()
    return float(x.mean(0).var(0).sum() / max(total, 1e-300))


def image_share(x: Float[np.ndarray, "b n d"]) -> float:
    """The share that the image alone explains: 1 where all patches of an image have one feature."""
    return position_share(np.swapaxes(x, 0, 1))

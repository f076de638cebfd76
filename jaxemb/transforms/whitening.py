"""Principal components, and whitening."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.transforms.base import Arrays, Transform
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Whitening(Transform):
    """z = (x - mean) U diag(s)^(-power), U and s the principal directions and standard deviations, largest first (PCA whitening).

    `power` 1 gives rows of covariance I, 0 the principal components themselves, between them some of each.
    """

    paper: ClassVar[Paper | None] = Paper("Optimal Whitening and Decorrelation", 2018, "arxiv.org/abs/1512.00809")

    components: int | None = None
    """How many directions; None: all whose deviation is not null."""
    power: float = 1.0
    floor: float = 1e-3
    """Directions with less than this share of the largest deviation are left out: noise that whitening would blow up."""

    def __post_init__(self) -> None:
        if self.components is not None and self.components < 1:
            raise ConfigError(f"Whitening.components must be at least 1, is {self.components}")
        if not (0 <= self.power <= 1 and 0 < self.floor < 1):
            raise ConfigError(f"Whitening: power lies in [0, 1] and floor in (0, 1), they are {self.power} and {self.floor}")

    def fit(self, x: Float[np.ndarray, "n d"]) -> Arrays:
        if len(x) < 2:
            raise ConfigError(f"Whitening needs two rows at least, was given {len(x)}")
        x = np.asarray(x, np.float64)
        mean = x.mean(0)
        _, s, v = np.linalg.svd(x - mean, full_matrices=False)
        s = s / np.sqrt(len(x) - 1)
        kept = np.flatnonzero(s > self.floor * max(s[0], 1e-300))[: self.components]
        if not len(kept):
            raise ConfigError("Whitening: all rows are the same")
        v *= np.where(np.take_along_axis(v, np.abs(v).argmax(1, keepdims=True), 1) < 0, -1.0, 1.0)  # a sign for every direction
        return {"mean": mean, "matrix": (v[kept] * s[kept, None] ** -self.power).T}

    def apply(self, arrays: Arrays, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        return ((np.asarray(x, np.float64) - arrays["mean"]) @ arrays["matrix"]).astype(np.float32)

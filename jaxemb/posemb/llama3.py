"""The frequencies of Llama 3.1."""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.posemb.rescale import Factor, _Spectrum, check_factor, of_axis
from jaxemb.types import Paper


class Llama3(_Spectrum):
    """Divides the frequencies of long waves by s, leaves short ones, and goes from one to the other in between.

    w = 2 pi / theta_j:   w < Lo / high: theta_j      w > Lo / low: theta_j / s
    else (1 - g) theta_j / s + g theta_j,   g = (Lo / w - low) / (high - low)
    """

    paper: ClassVar[Paper | None] = Paper("The Llama 3 Herd of Models", 2024, "arxiv.org/abs/2407.21783")

    factor: Factor = 8.0
    original: int | tuple[int, ...] = 8192
    """Lo: positions along each axis in training."""
    low: float = 1.0
    """Waves that turn less often than this within Lo are stretched entirely,"""
    high: float = 4.0
    """those that turn more often not at all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor("Llama3", self.factor, self.original)
        if not 0 < self.low < self.high:
            raise ConfigError(f"Llama3 needs 0 < low < high, not low={self.low}, high={self.high}")

    def spectrum(self, theta: Float[Array, "1 1 k"], axis: int, width: int, length: Num[Array, "#b #n"]) -> tuple[Array, float]:
        turns = of_axis(self.original, axis) * theta / (2 * math.pi)  # Lo / w
        share = jnp.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return (1 - share) * theta / of_axis(self.factor, axis) + share * theta, 1.0

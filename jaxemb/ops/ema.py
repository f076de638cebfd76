"""Exponential moving averages of parameter trees."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array


def ema_update(average: Any, new: Any, momentum: Array | float) -> Any:
    """m average + (1 - m) new, leaf by leaf, in the dtype of the average: m = 1 keeps it, m = 0 copies."""

    def blend(a: Array, x: Array) -> Array:
        m = jax.numpy.asarray(momentum, a.dtype)
        return m * a + (1 - m) * x.astype(a.dtype)

    return jax.tree.map(blend, average, new)


def warmed(momentum: float, step: int) -> float:
    """min(m, (1 + t) / (10 + t)): an average that follows closely at first, t = 1, 2, ..."""
    return min(momentum, (1 + step) / (10 + step))


def debiased(average: Any, momentum: float, steps: int) -> Any:
    """average / (1 - m^steps) of one that started at zero: each parameter so far has its full weight."""
    return jax.tree.map(lambda a: a / jax.numpy.asarray(1 - momentum**steps, a.dtype), average)

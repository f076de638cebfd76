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

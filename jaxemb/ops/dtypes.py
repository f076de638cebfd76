"""Which dtype to compute in."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array


def wide(x: Array) -> Any:
    """float32 for half precision, else the dtype of x: statistics, softmax and losses are computed in this."""
    return jnp.dtype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x.dtype

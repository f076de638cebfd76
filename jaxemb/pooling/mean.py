"""The mean of the tokens."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.pooling.base import Pooling
from jaxemb.types import Features


class Mean(Pooling):
    """sum_i m_i x_i / sum_i m_i over the tokens; class and register tokens do not take part. All padding: zeros."""

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        weight = f.mask[:, :, None].astype(f.tokens.dtype)
        return (f.tokens * weight).sum(1) / jnp.maximum(weight.sum(1), 1)

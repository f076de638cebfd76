"""The sum of the tokens over the root of their number."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.pooling.base import Pooling
from jaxemb.types import Features


class MeanSqrt(Pooling):
    """sum_i m_i x_i / sqrt(sum_i m_i): of independent tokens it has one spread at every length.

    "mean_sqrt_len_tokens" of sentence-transformers. Nothing counts: zeros.
    """

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        weight = f.mask[:, :, None].astype(f.tokens.dtype)
        return (f.tokens * weight).sum(1) / jnp.sqrt(jnp.maximum(weight.sum(1), 1))

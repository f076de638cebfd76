"""The maximum over the tokens."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.pooling.base import Pooling
from jaxemb.types import Features


class Max(Pooling):
    """max_i x_i over the tokens that count, feature by feature. Nothing counts: minus infinity, as in sentence-transformers."""

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        return jnp.where(f.mask[:, :, None], f.tokens, -jnp.inf).max(1)

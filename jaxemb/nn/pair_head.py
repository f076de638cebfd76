"""A score of two sentence vectors by a small network, in place of their cosine."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.layers.dense import Dense


class PairHead(nn.Module):
    """W_2 relu(W_1 [u, v, u v, |u - v|]): logits of a pair of vectors (DSE, Barkan et al., AAAI 2020).

    Not symmetric: [u, v] tells who is first. Parameters: hidden, out.
    """

    classes: int = 1
    hidden: int = 512

    @nn.compact
    def __call__(self, u: Float[Array, "b d"], v: Float[Array, "b d"]) -> Float[Array, "b c"]:
        both = jnp.concatenate([u, v, u * v, jnp.abs(u - v)], axis=-1)
        h = jax.nn.relu(Dense(self.hidden, kernel_init="lecun", name="hidden")(both))
        return Dense(self.classes, kernel_init="lecun", name="out")(h)

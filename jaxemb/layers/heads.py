"""What comes after a pooling: from vector to vector."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import choices, within
from jaxemb.layers.dense import Dense
from jaxemb.layers.feedforward import ACTIVATIONS
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit

HEAD_ACTIVATIONS = {
    **ACTIVATIONS,
    "sigmoid": nn.sigmoid,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "selu": nn.selu,
    "softplus": nn.softplus,
    "mish": lambda x: x * jnp.tanh(nn.softplus(x)),
}


class DenseHead(nn.Module):
    """z -> f(z W + b), a Dense module of sentence-transformers. Parameters: dense (d, features)."""

    features: int
    bias: bool = True
    activation: str | None = "tanh"
    """None: nothing is done to the result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, activation=(*HEAD_ACTIVATIONS, None))
        within(self, features=(1, 2**20))

    @nn.compact
    def __call__(self, z: Float[Array, "*b d"]) -> Float[Array, "*b f"]:
        z = Dense(self.features, use_bias=self.bias, name="dense")(z)
        return z if self.activation is None else HEAD_ACTIVATIONS[self.activation](z)


class Unit(nn.Module):
    """z -> z / max(|z|, 1e-12): vectors of length 1, of which products are cosines."""

    def __call__(self, z: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        return unit(z.astype(wide(z))).astype(z.dtype)

"""The multilayer perceptron: the smallest encoder, of inputs as one flat vector."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import INITS, Dense
from jaxemb.layers.feedforward import ACTIVATIONS
from jaxemb.nn.base import Encoder
from jaxemb.types import Features


class MLP(Encoder):
    """x -> f(x W + b), once for each width, of the inputs as one flat vector. The features are one token.

    Parameters: `stem` (first layer), then `layer1`, `layer2`, ...: `kernel` (inputs, width) and `bias` (width).
    """

    widths: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    """relu, tanh, gelu, gelu_tanh, silu; after every layer."""
    kernel_init: str = "xavier"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"MLP.widths must be numbers of at least 1, one for each layer, are {self.widths}")
        choices(self, activation=ACTIVATIONS, kernel_init=INITS)

    @nn.compact
    def __call__(self, inputs: Float[Array, "b ..."], *, train: bool = False) -> Features:
        x = inputs.reshape(inputs.shape[0], -1).astype(self.dtype)
        for i, width in enumerate(self.widths):
            x = Dense(width, name=f"layer{i}" if i else "stem", kernel_init=self.kernel_init)(x)
            x = ACTIVATIONS[self.activation](x)
        return Features(x[:, None], jnp.ones((len(x), 1), bool))

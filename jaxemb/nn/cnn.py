"""A small convolutional network, as for digits."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.conv import Conv
from jaxemb.layers.dense import INITS
from jaxemb.layers.feedforward import ACTIVATIONS
from jaxemb.nn.base import Encoder
from jaxemb.types import Features


class CNN(Encoder):
    """x -> maxpool2(f(x * W + b)), once for each width; one token, the last map flattened.

    Parameters: `stem` (first convolution), then `layer1`, `layer2`, ...: `kernel` (height, width, in, out) and `bias` (out).
    """

    widths: tuple[int, ...] = (32, 32)
    sizes: tuple[int, ...] = (5, 3)
    """Side of the kernel of each layer."""
    activation: str = "relu"
    """relu, tanh, gelu, gelu_tanh, silu; after every layer."""
    kernel_init: str = "xavier"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"CNN.widths must be numbers of at least 1, one for each layer, are {self.widths}")
        if len(self.sizes) != len(self.widths) or min(self.sizes) < 1:
            raise ConfigError(f"CNN.sizes={self.sizes} must be numbers of at least 1, one for each of widths={self.widths}")
        choices(self, activation=ACTIVATIONS, kernel_init=INITS)

    @nn.compact
    def __call__(self, images: Float[Array, "b H W c"], *, train: bool = False) -> Features:
        x = images.astype(self.dtype)
        if min(x.shape[1:3]) >> len(self.widths) == 0:
            raise ConfigError(f"CNN: {len(self.widths)} layers halve an image of {x.shape[1]} x {x.shape[2]} to nothing")
        for i, (width, size) in enumerate(zip(self.widths, self.sizes, strict=True)):
            name = f"layer{i}" if i else "stem"
            x = Conv(width, size, kernel_init=INITS[self.kernel_init], name=name)(x)
            x = nn.max_pool(ACTIVATIONS[self.activation](x), (2, 2), (2, 2))
        return Features(x.reshape(len(x), 1, -1), jnp.ones((len(x), 1), bool))

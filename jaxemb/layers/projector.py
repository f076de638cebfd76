"""The projector of joint-embedding methods: an MLP between the features that are kept and those that the loss sees."""

from __future__ import annotations

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.dense import Dense
from jaxemb.layers.norms import BatchNorm
from jaxemb.ops.dtypes import wide


class Projector(nn.Module):
    """[Linear, batch norm, ReLU] for each width but the last, then Linear.

    Parameters: `dense_i` (kernel, bias), `norm_i` (scale, bias), `out` (kernel, with `bias` a bias). Computed in float32 or better
    whatever the encoder's dtype.
    """

    widths: tuple[int, ...] = (2048, 2048, 128)
    norm: bool = True
    """Batch norm after the hidden layers."""
    bias: bool = False
    """Of the last layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"projector.widths must be one or more numbers of at least 1, are {self.widths}")

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], *, train: bool = False) -> Float[Array, "n k"]:
        x = x.astype(wide(x))
        for i, width in enumerate(self.widths[:-1]):
            x = Dense(width, name=f"dense_{i}", kernel_init="xavier")(x)
            x = BatchNorm(name=f"norm_{i}")(x, train=train) if self.norm else x
            x = nn.relu(x)
        return Dense(self.widths[-1], use_bias=self.bias, name="out", kernel_init="xavier")(x)

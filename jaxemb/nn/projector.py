"""The projector of joint-embedding methods: an MLP between the features that are kept and those that the loss sees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.nn.dense import Dense
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
        kind: dict[str, Any] = {"kernel_init": "xavier", "dtype": x.dtype.name, "param_dtype": x.dtype.name}
        for i, width in enumerate(self.widths[:-1]):
            x = Dense(width, name=f"dense_{i}", **kind)(x)
            x = BatchNorm(name=f"norm_{i}")(x, train=train) if self.norm else x
            x = nn.relu(x)
        return Dense(self.widths[-1], use_bias=self.bias, name="out", **kind)(x)


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + bias, over the rows of the global batch in training, running statistics otherwise.

    Unlike linen's, `train=True` also works where `batch_stats` may not change, or are not there: a teacher sees the statistics of
    its batch and leaves no trace.
    """

    momentum: float = 0.9
    """Of the running statistics."""
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], *, train: bool) -> Float[Array, "n d"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], x.dtype)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], x.dtype)
        keeps = self.is_mutable_collection("batch_stats")
        if keeps or not train:
            mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:], x.dtype)
            var = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:], x.dtype)
        if train:
            m, v = x.mean(0), x.var(0)
            if keeps and not self.is_initializing():
                mean.value = self.momentum * mean.value + (1 - self.momentum) * m
                var.value = self.momentum * var.value + (1 - self.momentum) * v
        else:
            m, v = mean.value, var.value
        return (x - m[None]) * (jax.lax.rsqrt(v + self.eps) * scale)[None] + bias[None]

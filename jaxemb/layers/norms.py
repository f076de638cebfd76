"""Norms of tokens, and over the rows of a batch. Statistics in float32 or better, results in the input's dtype."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide


class Norm(nn.Module):
    """Abstract: what stands in the field `norm` of a block, an encoder or an attention layer."""

    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        raise TypeError(f"{type(self).__name__} does not define __call__")


class LayerNorm(Norm):
    """(x - mean) / sqrt(var + eps) * scale + bias over the last axis (Ba et al. 2016). Parameters: scale, bias (d)."""

    eps: float = 1e-6
    bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self)

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        y = normalise(x, self.eps)
        lead = (None,) * (x.ndim - 1)
        y = y * self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)[lead].astype(y.dtype)
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)[lead].astype(y.dtype)
        return y.astype(x.dtype)


class RMSNorm(Norm):
    """x / sqrt(mean(x^2) + eps) * scale over the last axis (Zhang & Sennrich 2019). Parameters: scale (d)."""

    eps: float = 1e-6
    plus_one: bool = False
    """The factor is 1 + scale, and scale starts at 0, as in Gemma."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self)

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        start = nn.initializers.zeros if self.plus_one else nn.initializers.ones
        y = x.astype(wide(x))
        y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + self.eps)
        scale = self.param("scale", start, (x.shape[-1],), jnp.float32)[(None,) * (x.ndim - 1)].astype(y.dtype)
        return (y * (1 + scale if self.plus_one else scale)).astype(x.dtype)


class NoNorm(Norm):
    """x as it is, where a family of models leaves a norm out."""

    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        return x


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + bias, over all axes of the global batch but the last in training, running statistics
    otherwise (Ioffe & Szegedy 2015). Parameters: scale, bias (d); `batch_stats`: mean, var (d).

    Unlike linen's, `train=True` also works where `batch_stats` may not change, or are not there: a teacher sees the statistics of
    its batch and leaves no trace.
    """

    momentum: float = 0.9
    """Of the running statistics."""
    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self)

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"], *, train: bool) -> Float[Array, "*n d"]:
        y, width, lead = x.astype(wide(x)), x.shape[-1:], (None,) * (x.ndim - 1)
        scale = self.param("scale", nn.initializers.ones, width, jnp.float32).astype(y.dtype)
        bias = self.param("bias", nn.initializers.zeros, width, jnp.float32).astype(y.dtype)
        keeps = self.is_mutable_collection("batch_stats")
        if keeps or not train:
            mean = self.variable("batch_stats", "mean", jnp.zeros, width, jnp.float32)
            var = self.variable("batch_stats", "var", jnp.ones, width, jnp.float32)
        if train:
            axes = tuple(range(x.ndim - 1))
            m, v = y.mean(axes), y.var(axes)
            if keeps and not self.is_initializing():
                for kept, new in ((mean, m), (var, v)):
                    kept.value = self.momentum * kept.value + (1 - self.momentum) * new.astype(kept.value.dtype)
        else:
            m, v = mean.value.astype(y.dtype), var.value.astype(y.dtype)
        return ((y - m[lead]) * (jax.lax.rsqrt(v + self.eps) * scale)[lead] + bias[lead]).astype(x.dtype)


def check_eps(norm: Any) -> None:
    """Raises for an eps that would make variances negative."""
    if norm.eps < 0:
        raise ConfigError(f"{type(norm).__name__}.eps must not be negative, is {norm.eps}")


def normalise(x: Float[Array, "*n d"], eps: float) -> Float[Array, "*n d"]:
    """LayerNorm without affine parameters: zero mean and unit (biased) variance along the last axis, in float32 or better."""
    x = x.astype(wide(x))
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps)

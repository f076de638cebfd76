"""Dense and LayerNorm, as in linen, with the two changes that speed and strict dtypes ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.ops import tract
from jaxemb.ops.dtypes import wide

INITS: dict[str, Callable] = {
    # The draw of ViT, BERT and I-JEPA: normal with std .02. Their code cuts it at +-2, a hundred deviations away.
    "trunc_normal": nn.initializers.normal(0.02),
    # Uniform with variance 2 / (in + out): keeps the scale of activations at small widths, where .02 is too little.
    "xavier": nn.initializers.xavier_uniform(),
    "zeros": nn.initializers.zeros,
}


class Dense(nn.Module):
    """y = x W + b with the parameters of `nn.Dense` (`kernel` in-out, `bias`).

    Leading axes are flattened into one first: `nn.Dense` contracts over all of them in the gradient of the kernel, which costs
    XLA:CPU transposes and 1.3x the time of the whole backward pass.
    """

    features: int
    use_bias: bool = True
    kernel_init: str = "trunc_normal"
    dtype: str = "float32"
    param_dtype: str = "float32"
    tract: float | None = None
    """Of a first layer: lambda of TrAct (`ops/tract.py`), which changes the gradient of the kernel alone."""
    tract_pieces: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n f"]:
        kernel = self.param("kernel", INITS[self.kernel_init], (x.shape[-1], self.features), jnp.dtype(self.param_dtype))
        lam = lambda_here(self, lambda lam: tract.dense_moment(x, lam, dtype=self.dtype))
        if lam is None:
            y = x.reshape(-1, x.shape[-1]).astype(self.dtype) @ kernel.astype(self.dtype)
        else:
            y = tract.tract_dense(x, kernel, lam, dtype=self.dtype, pieces=self.tract_pieces).reshape(-1, self.features)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.dtype(self.param_dtype))
            y = y + bias.astype(self.dtype)[None]
        return y.reshape(*x.shape[:-1], self.features)


def lambda_here(layer: Any, moment: Callable[[float], Array]) -> float | None:
    """lambda of TrAct where this layer is to solve itself; None where it has none, or where the training step asks for `moment`
    and solves (`ops/tract.py`)."""
    asked = layer.is_mutable_collection(tract.MOMENTS) and not layer.is_initializing()
    if layer.tract is None or layer.tract_pieces > 1 or not asked:
        return layer.tract
    layer.sow(tract.MOMENTS, "kernel", moment(layer.tract))
    return None


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + bias over the last axis; statistics in float32 or better."""

    eps: float = 1e-6
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.dtype(self.param_dtype))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.dtype(self.param_dtype))
        y = normalise(x, self.eps)
        lead = (None,) * (x.ndim - 1)
        return (y * scale[lead].astype(y.dtype) + bias[lead].astype(y.dtype)).astype(self.dtype)


def normalise(x: Float[Array, "*n d"], eps: float) -> Float[Array, "*n d"]:
    """LayerNorm without affine parameters: zero mean and unit (biased) variance along the last axis, in float32 or better."""
    x = x.astype(wide(x))
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps)

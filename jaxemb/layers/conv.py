"""Convolution, as in linen, that TrAct may train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.layers.dense import INITS, lambda_here
from jaxemb.ops import tract
from jaxemb.ops.tract import Padding


class Conv(nn.Module):
    """y = x * W + b with the parameters of `nn.Conv` (`kernel` height, width, in, out; `bias`), in the dtype of x."""

    features: int
    size: int
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., Array] = INITS["xavier"]
    tract: float | None = None
    """Of a first layer: lambda of TrAct (`ops/tract.py`), which changes the gradient of the kernel alone."""
    tract_pieces: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b H W c"]) -> Float[Array, "b h w f"]:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features))
        how: dict[str, Any] = {"strides": self.stride, "padding": self.padding, "dtype": x.dtype.name}
        lam = lambda_here(self, lambda lam: tract.conv_moment(x, (self.size, self.size), lam, **how))
        if lam is None:
            pads = ((self.padding, self.padding),) * 2 if isinstance(self.padding, int) else self.padding
            w = kernel.astype(x.dtype)
            y = jax.lax.conv_general_dilated(x, w, (self.stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        else:
            y = tract.tract_conv(x, kernel, lam, pieces=self.tract_pieces, **how)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)[None, None, None]
        return y

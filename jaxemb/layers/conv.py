"""Convolution, as in linen."""

from __future__ import annotations

from collections.abc import Callable

import jax
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.layers.dense import INITS
from jaxemb.ops.tract import Padding


class Conv(nn.Module):
    """y = x * W + b with the parameters of `nn.Conv` (`kernel` height, width, in, out; `bias`), in the dtype of x."""

    features: int
    size: int
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Callable[..., Array] = INITS["xavier"]

    @nn.compact
    def __call__(self, x: Float[Array, "b H W c"]) -> Float[Array, "b h w f"]:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features))
        pads = ((self.padding, self.padding),) * 2 if isinstance(self.padding, int) else self.padding
        w = kernel.astype(x.dtype)
        y = jax.lax.conv_general_dilated(x, w, (self.stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)[None, None, None]
        return y

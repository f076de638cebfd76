"""Linear layers: as in linen, with the changes that speed, tensor parallelism and strict dtypes ask for.

They compute in the dtype of their input; parameters start in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.ops.product import product
from jaxemb.ops.rows import by_rows

INITS: dict[str, Callable] = {
    # The draw of ViT, BERT and I-JEPA. (Their code calls it truncated, and cuts it at +-2, a hundred deviations away.)
    "normal": nn.initializers.normal(0.02),
    # Uniform with variance 2 / (in + out): keeps the scale of activations at small widths, where .02 is too little.
    "xavier": nn.initializers.xavier_uniform(),
    # Normal with variance 1 / in: the start of linen's own layers.
    "lecun": nn.initializers.lecun_normal(),
    "zeros": nn.initializers.zeros,
}


class Dense(nn.Module):
    """y = x W + b with the parameters of `nn.Dense` (`kernel` in-out, `bias`).

    Leading axes are flattened into one first: `nn.Dense` contracts over all of them in the gradient of the kernel, which costs
    XLA:CPU transposes and 1.3x the time of the whole backward pass.
    """

    features: int
    use_bias: bool = True
    kernel_init: str = "normal"

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n f"]:
        kernel = self.param("kernel", INITS[self.kernel_init], (x.shape[-1], self.features), jnp.float32)
        y = product(x.reshape(-1, x.shape[-1]), kernel.astype(x.dtype))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(x.dtype)[None]
        return of_tokens(y.reshape(*x.shape[:-1], self.features))


class ToHeads(nn.Module):
    """y_he = x W_he + b_he. Parameters: `kernel` (d, h, e), `bias` (h, e): cut along h, a device computes its own heads alone."""

    heads: int
    width: int | None = None
    """Features of a head (e); None: d / heads."""
    use_bias: bool = True
    kernel_init: str = "normal"
    drawn_with: int = 0
    """Further outputs that "xavier" counts: of matrices beside this one, where published code draws all of them as one."""

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n h e"]:
        d = x.shape[-1]
        shape = (self.heads, self.width or d // self.heads)
        kernel = self.param("kernel", self._start, (d, *shape), jnp.float32)
        y = product(x.reshape(-1, d), kernel.astype(x.dtype).reshape(d, -1))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, shape, jnp.float32).astype(x.dtype).reshape(1, -1)
        return of_tokens(y.reshape(*x.shape[:-1], *shape))

    def _start(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        if self.kernel_init != "xavier":  # drawn as the matrix that it is: a head is not an input
            return INITS[self.kernel_init](key, (shape[0], shape[1] * shape[2]), dtype).reshape(shape)
        limit = math.sqrt(6 / (shape[0] + shape[1] * shape[2] + self.drawn_with))
        return jax.random.uniform(key, shape, dtype, -limit, limit)


class FromHeads(nn.Module):
    """y = sum_he x_he W_he + b. Parameters: `kernel` (h, e, d), `bias` (d)."""

    features: int | None = None
    """d; None: h e."""
    use_bias: bool = True
    kernel_init: str = "normal"

    @nn.compact
    def __call__(self, x: Float[Array, "*n h e"]) -> Float[Array, "*n d"]:
        h, e = x.shape[-2:]
        d = self.features or h * e
        flat: Callable = lambda key, shape, dtype: INITS[self.kernel_init](key, (h * e, d), dtype).reshape(shape)  # noqa: E731
        kernel = self.param("kernel", flat, (h, e, d), jnp.float32)
        y = product(x.reshape(-1, h * e), kernel.astype(x.dtype).reshape(h * e, -1))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (d,), jnp.float32).astype(x.dtype)[None]
        return of_tokens(y.reshape(*x.shape[:-2], d))


def of_tokens(y: Array) -> Array:
    """What a layer gives, kept with the rows of the batch; two axes alone may be anything, a table of parameters too."""
    return by_rows(y) if y.ndim > 2 else y

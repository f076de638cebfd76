"""The transformer over the digits of a position that SeqPE learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.ops.attention import attention
from jaxemb.ops.digits import digits, digits_mask

normal, zeros = nn.initializers.normal(0.02), nn.initializers.zeros


class Linear(nn.Module):
    """x W + b, or some columns of it. Parameters: kernel (w, d), bias (d)."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "*b w"], columns: slice = slice(None)) -> Float[Array, "*b d"]:
        kernel = self.param("kernel", normal, (x.shape[-1], self.features))
        bias = self.param("bias", zeros, (self.features,))[columns]
        return x @ kernel[:, columns] + jnp.expand_dims(bias, tuple(range(x.ndim - 1)))


class Norm(nn.Module):
    """LayerNorm, eps 1e-5. Parameters: scale, bias (w)."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b w"]) -> Float[Array, "*b w"]:
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        axes = tuple(range(x.ndim - 1))
        scale, bias = (self.param(n, start, (x.shape[-1],)) for n, start in (("scale", nn.initializers.ones), ("bias", zeros)))
        return x * jnp.expand_dims(scale, axes) + jnp.expand_dims(bias, axes)


class DigitEncoder(nn.Module):
    """A small causal transformer over the digits of a position, read out at a summary token that stands last.

    digit_t + slot_t (+ axis_t) -> [..., summary] -> depth x pre-norm block -> LayerNorm -> last token -> Linear / temperature

    Parameters: digit (10, w), slot (T, w), axis (a, 1, w) if a > 1, summary (1, 1, w); per block ln1, qkv (w, 3w), proj (w, w),
    ln2, fc1 (w, 4w), fc2 (4w, w); norm, out (w, d). Weights start from N(0, .02), biases from 0.
    """

    width: int
    depth: int
    heads: int
    axes: int
    count: int
    causal: bool
    mask_padding: bool
    summary: bool
    last_norm: bool
    temperature: float
    dropout: float

    @nn.compact
    def __call__(self, pos: Int[Array, "m a"], features: int, train: bool) -> Float[Array, "m d"]:
        text = digits(pos, self.count)  # m t
        slots = text.shape[1]
        tables = {"digit": (10, self.width), "slot": (slots, self.width), "axis": (self.axes, 1, self.width)}
        table = {name: self.param(name, normal, shape) for name, shape in tables.items() if name != "axis" or self.axes > 1}
        x = table["digit"][text] + table["slot"][None]
        if self.axes > 1:
            x = x + jnp.repeat(table["axis"][:, 0], self.count, axis=0)[None]
        mask = digits_mask(pos, self.count) if self.mask_padding else None
        if self.summary:
            last = self.param("summary", normal, (1, 1, self.width))
            x = jnp.concatenate([x, jnp.broadcast_to(last, (len(x), 1, self.width))], axis=1)
            mask = None if mask is None else jnp.pad(mask, ((0, 0), (0, 1)), constant_values=True)
        for i in range(self.depth):
            x = self._block(x, mask, i, train)
        x = self._norm("norm")(x[:, -1]) if self.last_norm else x[:, -1]
        return Linear(features, name="out")(x) / self.temperature

    def _block(self, x: Float[Array, "m t w"], mask: Array | None, i: int, train: bool) -> Float[Array, "m n w"]:
        """Of the last block, whose other tokens nobody reads, the last token alone (n = 1)."""
        m, t, w = x.shape
        n = 1 if i == self.depth - 1 else t
        normed, linear = self._norm(f"ln1_{i}")(x), Linear(3 * w, name=f"qkv_{i}")
        q = linear(normed[:, t - n :], slice(0, w)).reshape(m, n, self.heads, -1)
        kv = linear(normed, slice(w, None)).reshape(m, t, 2, self.heads, -1)
        y = attention(q, kv[:, :, 0], kv[:, :, 1], mask=mask, causal=self.causal).reshape(m, n, w)
        x = x[:, t - n :] + self._drop(Linear(w, name=f"proj_{i}")(y), train)
        y = nn.gelu(Linear(4 * w, name=f"fc1_{i}")(self._norm(f"ln2_{i}")(x)), approximate=True)
        return x + self._drop(Linear(w, name=f"fc2_{i}")(y), train)

    def _norm(self, name: str) -> Norm:
        return Norm(name=name)

    def _drop(self, x: Array, train: bool) -> Array:
        return nn.Dropout(self.dropout)(x, deterministic=False) if self.dropout and train else x

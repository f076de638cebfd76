"""The transformer over the digits of a position that SeqPE learns."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.layers.dense import INITS, Dense, FromHeads, ToHeads
from jaxemb.layers.feedforward import FeedForward, dropped
from jaxemb.layers.norms import LayerNorm
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.ops.digits import digits, digits_mask


class DigitBlock(nn.Module):
    """A pre-norm block that computes the last `queries` of its tokens alone. Parameters: norm1, q, k, v (w, h, e), out (h, e, w),
    norm2, mlp/up (w, 4w), mlp/down (4w, w)."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "m t w"], allow: Allow, queries: int, train: bool) -> Float[Array, "m n w"]:
        width, start = x.shape[-1], x.shape[1] - queries
        norm = LayerNorm(eps=1e-5)
        normed = norm.copy(name="norm1")(x)
        q, k, v = (
            ToHeads(self.heads, width // self.heads, name=name)(y)
            for name, y in (("q", normed[:, start:]), ("k", normed), ("v", normed))
        )
        y = FromHeads(width, name="out")(attention(q, k, v, allow=allow))
        x = x[:, start:] + dropped(y, self.dropout, train)
        y = FeedForward(activation="gelu_tanh", name="mlp")(norm.copy(name="norm2")(x))
        return x + dropped(y, self.dropout, train)


class DigitEncoder(nn.Module):
    """A small causal transformer over the digits of a position, read out at a summary token that stands last.

    digit_t + slot_t (+ axis_t) -> [..., summary] -> depth x pre-norm block -> LayerNorm -> last token -> Linear / temperature

    Parameters: digit (10, w), slot (T, w), axis (a, 1, w) if a > 1, summary (1, 1, w); block_i (`DigitBlock`); norm, out (w, d).
    Weights start from N(0, .02), biases from 0.
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
        text, normal = digits(pos, self.count), INITS["normal"]  # m t
        slots = text.shape[1]
        tables = {"digit": (10, self.width), "slot": (slots, self.width), "axis": (self.axes, 1, self.width)}
        table = {name: self.param(name, normal, shape) for name, shape in tables.items() if name != "axis" or self.axes > 1}
        x = table["digit"][text] + table["slot"][None]
        if self.axes > 1:
            x = x + jnp.repeat(table["axis"][:, 0], self.count, axis=0)[None]
        valid = digits_mask(pos, self.count) if self.mask_padding else None
        if self.summary:
            last = self.param("summary", normal, (1, 1, self.width))
            x = jnp.concatenate([x, jnp.broadcast_to(last, (len(x), 1, self.width))], axis=1)
            valid = None if valid is None else jnp.pad(valid, ((0, 0), (0, 1)), constant_values=True)
        allow = Allow(valid, causal=self.causal)
        for i in range(self.depth):  # of the last block, whose other tokens nobody reads, the last token alone
            queries = 1 if i == self.depth - 1 else x.shape[1]
            x = DigitBlock(self.heads, self.dropout, name=f"block_{i}")(x, allow, queries, train)
        y = LayerNorm(eps=1e-5, name="norm")(x[:, -1]) if self.last_norm else x[:, -1]
        return Dense(features, name="out")(y) / self.temperature

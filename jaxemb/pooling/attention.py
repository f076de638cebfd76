"""Attention pooling: a learned query reads the tokens."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.dense import FromHeads, ToHeads
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm, Norm
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class AttentionPool(Pooling):
    """z = Attn(learned query, tokens); z + MLP(LN(z)): the "MAP head" of scaled vision transformers.

    Parameters: query (1, 1, d), q, k, v (d, h, e), out (h, e, d), norm, mlp. Class and register tokens are read as well.
    """

    paper: ClassVar[Paper | None] = Paper("Scaling Vision Transformers", 2022, "arxiv.org/abs/2106.04560")

    heads: int = 4
    mlp: FeedForward = field(default_factory=lambda: FeedForward(kernel_init="xavier"))
    norm: Norm = field(default_factory=LayerNorm)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1:
            raise ConfigError(f"AttentionPool.heads must be at least 1, is {self.heads}")

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        x, mask = f.tokens, f.mask
        b, _, d = x.shape
        if d % self.heads:
            raise ConfigError(f"AttentionPool(heads={self.heads}) does not divide the width {d}")
        if f.prefix is not None:
            x = jnp.concatenate([f.prefix, x], axis=1)
            mask = jnp.pad(mask, ((0, 0), (f.prefix.shape[1], 0)), constant_values=True)
        query = self.param("query", nn.initializers.xavier_uniform(), (1, 1, d)).astype(x.dtype)
        q, k, v = (ToHeads(self.heads, kernel_init="xavier", name=name) for name in ("q", "k", "v"))
        z = attention(q(jnp.broadcast_to(query, (b, 1, d))), k(x), v(x), allow=Allow(mask))
        z = FromHeads(kernel_init="xavier", name="out")(z)[:, 0]
        return z + self.mlp(self.norm(z))

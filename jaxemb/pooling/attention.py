"""Attention pooling: a learned query reads the tokens."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.ops.attention import attention
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class AttentionPool(Pooling):
    """z = Attn(learned query, tokens); z + MLP(LN(z)): the "MAP head" of scaled vision transformers.

    Parameters: query (1, 1, d), q, kv (d, 2d), out, norm, mlp_up, mlp_down. Class and register tokens are read as well.
    """

    paper: ClassVar[Paper | None] = Paper("Scaling Vision Transformers", 2022, "arxiv.org/abs/2106.04560")

    heads: int = 4
    mlp_ratio: float = 4.0

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        x, mask = f.tokens, f.mask
        b, _, d = x.shape
        if d % self.heads:
            raise ConfigError(f"AttentionPool(heads={self.heads}) does not divide the width {d}")
        if f.prefix is not None:
            x = jnp.concatenate([f.prefix, x], axis=1)
            mask = jnp.pad(mask, ((0, 0), (f.prefix.shape[1], 0)), constant_values=True)
        dense = {"kernel_init": nn.initializers.xavier_uniform(), "dtype": x.dtype}
        query = self.param("query", nn.initializers.xavier_uniform(), (1, 1, d))
        q = nn.Dense(d, name="q", **dense)(jnp.broadcast_to(query, (b, 1, d)).astype(x.dtype))
        kv = nn.Dense(2 * d, name="kv", **dense)(x).reshape(b, -1, 2, self.heads, d // self.heads)
        z = attention(q.reshape(b, 1, self.heads, -1), kv[:, :, 0], kv[:, :, 1], mask=mask)
        z = nn.Dense(d, name="out", **dense)(z.reshape(b, d))
        hidden = nn.LayerNorm(name="norm", epsilon=1e-6, dtype=jnp.float32)(z.astype(jnp.float32)).astype(x.dtype)
        hidden = nn.gelu(nn.Dense(int(d * self.mlp_ratio), name="mlp_up", **dense)(hidden), approximate=False)
        return z + nn.Dense(d, name="mlp_down", **dense)(hidden)

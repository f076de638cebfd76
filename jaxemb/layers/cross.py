"""Tokens that read a memory: cross-attention and a feed-forward part, each on a residual path."""

from __future__ import annotations

from dataclasses import field

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, within
from jaxemb.layers.dense import FromHeads, ToHeads
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.ops.dtypes import wide


class CrossBlock(nn.Module):
    """x <- x + Attn(norm_queries(x) W_q, norm_memory(s) W_k, norm_memory(s) W_v) W_o;   x <- x + mlp(norm(x))

    Parameters: norm_queries, norm_memory, norm, q, k, v (d, h, e) and out (h, e, d) without biases, mlp.
    """

    heads: int = 8
    head_width: int | None = None
    """e; None: d / heads."""
    mlp: FeedForward = field(default_factory=lambda: FeedForward(gated=True, kernel_init="lecun"))

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, heads=(1, 4096), head_width=(1, 2**16))

    @nn.compact
    def __call__(self, x: Float[Array, "#b n d"], memory: Float[Array, "#b m d"], allow: Allow = Allow()) -> Float[Array, "b n d"]:
        d = x.shape[-1]
        if self.head_width is None and d % self.heads:
            raise ConfigError(f"heads={self.heads} does not divide the width {d}; choose others, or set head_width")
        size = {"width": self.head_width, "use_bias": False, "kernel_init": "lecun"}
        s = LayerNorm(1e-5, name="norm_memory")(memory)
        q = ToHeads(self.heads, **size, name="q")(LayerNorm(1e-5, name="norm_queries")(x))
        k, v = (ToHeads(self.heads, **size, name=name)(s) for name in ("k", "v"))
        rows = max(len(x), len(memory))
        q, k, v = (jnp.broadcast_to(y, (rows, *y.shape[1:])) for y in (q, k, v))
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "weights", _weights(q, k, allow))
        x = x + FromHeads(d, use_bias=False, kernel_init="lecun", name="out")(attention(q, k, v, allow=allow))
        self.sow("intermediates", "attended", x)
        return x + self.mlp(LayerNorm(1e-5, name="norm")(x))


def _weights(q: Array, k: Array, allow: Allow) -> Float[Array, "b n h m"]:
    """What `attention` multiplies values by, to look at."""
    logits = jnp.einsum("bnhe,bmhe->bhnm", q, k).astype(wide(q)) * q.shape[-1] ** -0.5
    allowed = allow.mask(q.shape[1], k.shape[1])
    logits = logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)
    return jnp.swapaxes(jax.nn.softmax(logits, axis=-1), 1, 2)

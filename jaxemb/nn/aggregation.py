"""The head of DMT-JEPA: a patch's target from its most similar neighbours, and the context's share in every context patch."""

from __future__ import annotations

from dataclasses import field

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import INITS, FromHeads, ToHeads
from jaxemb.layers.feedforward import FeedForward
from jaxemb.layers.norms import LayerNorm
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention

KINDS = ("cross", "self")


class Aggregation(nn.Module):
    """Class-attention blocks over a few rows, and a final LayerNorm (eps 1e-6).

    On targets (`neighbours`): a token t_i, first the mean of the image, looks at itself and at the k rows K_i of its neighbours,

        t_i <- t_i + Attn(LN(t_i), LN([t_i; K_i])),   t_i <- t_i + MLP(LN(t_i))

    On contexts (`context`): their mean c looks at [c; z], and what it finds is added to every patch,

        z <- z + Attn(LN(c), LN([c; z])),   z <- z + MLP(LN(z))

    "self": the patches of a context look at each other, without c; targets are the same, as of all rows that of t_i alone is kept.
    Parameters: blocks_i with norm1, q, k, v (d, h, e), out (h, e, d), norm2, mlp; norm.
    """

    depth: int = 2
    heads: int = 4
    kind: str = "cross"
    """Of the context: "cross" as published; "self": its patches look at each other (an ablation)."""
    mlp: FeedForward = field(default_factory=FeedForward)
    kernel_init: str = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, kind=KINDS, kernel_init=INITS)
        if min(self.depth, self.heads) < 1:
            raise ConfigError(f"Aggregation needs depth and heads of at least 1, not {self.depth} and {self.heads}")

    def setup(self) -> None:
        self.blocks = [ClassBlock(self.heads, self.kernel_init, self.mlp.copy(parent=None)) for _ in range(self.depth)]
        self.norm = LayerNorm(1e-6)

    def neighbours(
        self,
        features: Float[Array, "b n d"],
        ids: Int[Array, "b n k"],
        valid: Bool[Array, "b n k"],
        start: Float[Array, "b _ d"],
    ) -> Float[Array, "b n d"]:
        """The target of each patch. `start`: the first t, one an image or one a patch."""
        b, n, d = features.shape
        t = jnp.broadcast_to(start, (b, n, d))
        seen = jnp.concatenate([jnp.ones((b, n, 1), bool), valid], axis=2)
        for block in self.blocks:
            t = block.around(t, features, ids, seen)
        return self.norm(t)

    def context(self, z: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None = None) -> Float[Array, "b n d"]:
        """The context's patches, each with what their mean saw."""
        mask = jnp.ones(z.shape[:2], bool) if mask is None else mask
        for block in self.blocks:
            z = block.everyone(z, mask) if self.kind == "self" else block.mean_looks(z, mask)
        return self.norm(z)


class ClassBlock(nn.Module):
    """Pre-norm attention of some queries over some rows, and a feed-forward part."""

    heads: int
    kernel_init: str
    mlp: FeedForward

    def setup(self) -> None:
        self.norm1, self.norm2 = LayerNorm(1e-6), LayerNorm(1e-6)
        self.q, self.k, self.v = (ToHeads(self.heads, kernel_init=self.kernel_init) for _ in range(3))
        self.out = FromHeads(kernel_init=self.kernel_init)

    def around(
        self,
        t: Float[Array, "b n d"],
        features: Float[Array, "b n d"],
        ids: Int[Array, "b n k"],
        seen: Bool[Array, "b n m"],
    ) -> Float[Array, "b n d"]:
        """t_i looks at itself and its neighbours, whose keys and values are computed once a patch, not once a neighbour."""
        own, others = self.norm1(t), self.norm1(features)
        keys, values = (jnp.concatenate([part(own)[:, :, None], gather(part(others), ids)], axis=2) for part in (self.k, self.v))
        b, n, m, h, e = keys.shape  # each patch is a row of its own, with one query and m keys
        flat = [x.reshape(b * n, -1, h, e) for x in (self.q(own), keys, values)]
        found = attention(*flat, allow=Allow(seen.reshape(b * n, m)))
        return self._mlp(t + self.out(found.reshape(b, n, h, e)))

    def mean_looks(self, z: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
        """The mean of the rows looks at itself and them; all rows get what it saw."""
        weight = mask[:, :, None].astype(z.dtype)
        c = (z * weight).sum(1, keepdims=True) / jnp.maximum(weight.sum(1, keepdims=True), 1)
        rows = self.norm1(jnp.concatenate([c, z], axis=1))
        seen = jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        return self._mlp(z + self.out(attention(self.q(rows[:, :1]), self.k(rows), self.v(rows), allow=Allow(seen))))

    def everyone(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
        """Ordinary self-attention."""
        rows = self.norm1(x)
        return self._mlp(x + self.out(attention(self.q(rows), self.k(rows), self.v(rows), allow=Allow(mask))))

    def _mlp(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return x + self.mlp(self.norm2(x))


def gather(x: Float[Array, "b n h e"], ids: Int[Array, "b m k"]) -> Float[Array, "b m k h e"]:
    """Rows of each image."""
    return jax.vmap(lambda rows, i: rows[i])(x, ids)

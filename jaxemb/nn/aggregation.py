"""The heads of DMT-JEPA: a patch's target from its most similar neighbours, and the context's share in every context patch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, suggest
from jaxemb.nn.dense import Dense, LayerNorm
from jaxemb.ops.dtypes import wide

KINDS = ("cross", "self")


class Aggregation(nn.Module):
    """Class-attention blocks over a few rows, and a final LayerNorm (eps 1e-6).

    On targets (`neighbours`): a token t_i, first the mean of the image, looks at itself and at the k rows K_i of its neighbours,

        t_i <- t_i + Attn(LN(t_i), LN([t_i; K_i])),   t_i <- t_i + MLP(LN(t_i))

    On contexts (`context`): their mean c looks at [c; z], and what it finds is added to every patch,

        z <- z + Attn(LN(c), LN([c; z])),   z <- z + MLP(LN(z))

    "self": the patches of a context look at each other, without c; targets are the same, as of all rows that of t_i alone is kept.
    Parameters: blocks_i with norm1, q, k, v, proj (d, d), norm2, up (d, 4d), down; norm.
    """

    width: int
    depth: int
    heads: int
    kind: str
    kernel_init: str
    activation: Any
    dtype: str
    param_dtype: str

    def setup(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"attention={self.kind!r}{suggest(self.kind, KINDS)}")
        names = ("width", "heads", "kernel_init", "activation", "dtype", "param_dtype")
        settings = {name: getattr(self, name) for name in names}
        self.blocks = [ClassBlock(**settings) for _ in range(self.depth)]
        self.norm = LayerNorm(1e-6, dtype=self.dtype, param_dtype=self.param_dtype)

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
    """Pre-norm attention of some queries over some rows, and an MLP of four times the width."""

    width: int
    heads: int
    kernel_init: str
    activation: Any
    dtype: str
    param_dtype: str

    def setup(self) -> None:
        kind: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.norm1, self.norm2 = LayerNorm(1e-6, **kind), LayerNorm(1e-6, **kind)
        self.q, self.k, self.v, self.proj, self.down = (Dense(self.width, kernel_init=self.kernel_init, **kind) for _ in range(5))
        self.up = Dense(4 * self.width, kernel_init=self.kernel_init, **kind)

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
        return self._mlp(t + self._look(self.q(own)[:, :, None], keys, values, seen)[:, :, 0])

    def mean_looks(self, z: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
        """The mean of the rows looks at itself and them; all rows get what it saw."""
        weight = mask[:, :, None].astype(z.dtype)
        c = (z * weight).sum(1, keepdims=True) / jnp.maximum(weight.sum(1, keepdims=True), 1)
        rows = self.norm1(jnp.concatenate([c, z], axis=1))
        seen = jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        return self._mlp(z + self._look(self.q(rows[:, :1]), self.k(rows), self.v(rows), seen))

    def everyone(self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b n d"]:
        """Ordinary self-attention."""
        rows = self.norm1(x)
        return self._mlp(x + self._look(self.q(rows), self.k(rows), self.v(rows), mask))

    def _look(
        self, q: Float[Array, "*b n d"], k: Float[Array, "*b m d"], v: Float[Array, "*b m d"], seen: Bool[Array, "*b m"]
    ) -> Float[Array, "*b n d"]:
        split = [x.reshape(*x.shape[:-1], self.heads, -1) for x in (q, k, v)]
        scale = split[0].shape[-1] ** -0.5
        logits = jnp.einsum("...nhe,...mhe->...hnm", split[0] * scale, split[1], preferred_element_type=wide(q))
        logits = jnp.where(jnp.expand_dims(seen, (-3, -2)), logits, jnp.finfo(logits.dtype).min)
        weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
        return self.proj(jnp.einsum("...hnm,...mhe->...nhe", weights, split[2]).reshape(q.shape))

    def _mlp(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        return x + self.down(self.activation(self.up(self.norm2(x))))


def gather(x: Float[Array, "b n d"], ids: Int[Array, "b m k"]) -> Float[Array, "b m k d"]:
    """Rows of each image."""
    return jax.vmap(lambda rows, i: rows[i])(x, ids)

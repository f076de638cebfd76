"""From the features of a token to logits of the vocabulary, as in BERT."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.layers.dense import INITS, of_tokens
from jaxemb.layers.feedforward import gelu
from jaxemb.layers.norms import normalise
from jaxemb.ops.dtypes import wide
from jaxemb.ops.product import product


class TokenHead(nn.Module):
    """t = LayerNorm(gelu(z W + a)),   logits = t E^T + c (Devlin et al. 2018); E (v, d) is a table or a matrix of its own.

    Features z with fewer than `width` coordinates are those of a model cut to its first ones: the first rows of W stand for them.
    Parameters: kernel (width, inner), bias (inner), scale and shift (inner) of the norm, out_bias (v); untied `out` (v, inner).
    """

    vocabulary: int
    width: int
    inner: int | None = None
    """Features of t: the table's; None: `width`."""
    eps: float = 1e-12

    @nn.compact
    def __call__(self, z: Float[Array, "b k e"], table: Float[Array, "w d"] | None) -> Float[Array, "b k v"]:
        """`table` None: the matrix of its own. Of a table the first `vocabulary` rows are classes."""
        t = self.transform(z)
        own = table is None
        rows: Array = self.param("out", INITS["normal"], (self.vocabulary, t.shape[-1]), jnp.float32) if own else table
        logits = jnp.einsum("bkd,vd->bkv", t, rows[: self.vocabulary].astype(t.dtype), preferred_element_type=wide(t))
        bias = self.param("out_bias", nn.initializers.zeros, (self.vocabulary,), jnp.float32)
        return of_tokens(logits + bias[None, None].astype(logits.dtype))

    @nn.compact
    def transform(self, z: Float[Array, "b k e"]) -> Float[Array, "b k d"]:
        """t alone."""
        inner = self.inner or self.width
        kernel = self.param("kernel", INITS["normal"], (self.width, inner), jnp.float32)[: z.shape[-1]]
        bias = self.param("bias", nn.initializers.zeros, (inner,), jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (inner,), jnp.float32)
        shift = self.param("shift", nn.initializers.zeros, (inner,), jnp.float32)
        y = product(z.reshape(-1, z.shape[-1]), kernel.astype(z.dtype)) + bias.astype(z.dtype)[None]
        y = normalise(gelu(y), self.eps)
        y = y * scale.astype(y.dtype)[None] + shift.astype(y.dtype)[None]
        return of_tokens(y.astype(z.dtype).reshape(*z.shape[:-1], inner))

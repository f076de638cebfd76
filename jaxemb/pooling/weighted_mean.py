"""The mean of the tokens, later ones with more weight."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class WeightedMean(Pooling):
    """sum_i m_i w_i x_i / sum_i m_i w_i, w = 1, 2, 3, ...: for causal encoders, whose later tokens have seen more.

    Weights count from the first token that is no padding. A prompt that does not count keeps its numbers: the text goes on from
    them. Nothing counts: zeros.
    """

    paper: ClassVar[Paper | None] = Paper("SGPT: GPT Sentence Embeddings for Semantic Search", 2022, "arxiv.org/abs/2202.08904")

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        dtype = wide(f.tokens)  # in half precision counts beyond 256 would be rounded
        number = jnp.cumsum(f.mask if f.seen is None else f.seen, axis=1)
        weight = jnp.where(f.mask, number, 0)[:, :, None].astype(dtype)
        total = jnp.maximum(weight.sum(1), 1)
        return ((f.tokens.astype(dtype) * weight).sum(1) / total).astype(f.tokens.dtype)

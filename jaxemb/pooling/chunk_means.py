"""Vectors of the parts of a text, each from tokens that have seen the whole."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, within
from jaxemb.ops.dtypes import wide
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class ChunkMeans(Pooling):
    """The mean of the tokens of each part of a text, c = 0 ... chunks - 1: "late chunking", encoded in one pass, cut afterwards.

    `Features.chunks` says where a token belongs (`preprocess/chunks.py` finds it); a chunk without tokens gets zeros.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Late Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models", 2024, "arxiv.org/abs/2409.04701"
    )

    chunks: int = 16
    """The most chunks of a text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, chunks=(1, 2**20))

    def __call__(self, f: Features) -> Float[Array, "b c d"]:
        if f.chunks is None:
            raise ConfigError("ChunkMeans needs `chunks` in the batch (b n, int): the part of its text that each token belongs to")
        dtype = wide(f.tokens)
        own = f.chunks[:, None, :] == jnp.arange(self.chunks, dtype=f.chunks.dtype)[None, :, None]
        weight = (own & f.mask[:, None]).astype(dtype)
        tokens = jnp.where(f.mask[:, :, None], f.tokens, 0).astype(dtype)
        total = jnp.maximum(weight.sum(-1), 1)[:, :, None]
        return (jnp.einsum("bcn,bnd->bcd", weight, tokens) / total).astype(f.tokens.dtype)

"""Sharper attention for longer inputs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Num

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper


class LogitScale(_Wrapper):
    """Multiplies the attention logits by max(1, ln n / ln Lo), n being the number of tokens of the text, padding left out.

    Entropy of attention then stays about what it was in training. It is the queries that are scaled: a bias of `of` that does not
    look at them stays as it is. The reference takes the padded length in one of its paths; here it is always the true one, so
    that padding changes nothing.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LongEmbed: Extending Embedding Models for Long Context Retrieval", 2024, "arxiv.org/abs/2404.12096"
    )

    original: int = 128
    """Lo: tokens in training."""
    each: bool = False
    """For causal models: n is the place of each query, counted from 1, instead of the length of the input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.original < 2:
            raise ConfigError(f"LogitScale.original={self.original} must be at least 2, its logarithm is divided by")

    def attend(
        self,
        q: Float[Array, "b n h e"],
        k: Float[Array, "b m h e"],
        v: Float[Array, "b m h e"],
        shared: Any,
        allow: Allow,
        *,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> Float[Array, "b n h e"]:
        factor = logit_scale(self.count(q.shape[1], k.shape[1], allow), self.original, q.dtype)
        return self.of.attend(q * factor[:, :, None, None], k, v, shared, allow, scale=scale, softcap=softcap)

    def count(self, n: int, m: int, allow: Allow) -> Int[Array, "#b #n"]:
        """Tokens of the text of each query, or those up to it."""
        valid = jnp.ones((1, m), bool) if allow.valid is None else allow.valid
        if allow.segments is None:
            place = jnp.cumsum(valid, axis=1)
            return jnp.take(place, jnp.arange(n) + (m - n), axis=1, mode="clip") if self.each else place[:, -1:]
        own = dataclasses.replace(allow, causal=self.each, window=None).mask(n, m)
        assert own is not None
        return own[:, 0].sum(-1)


def logit_scale(count: Num[Array, "*b"], original: int, dtype: Any = jnp.float32) -> Float[Array, "*b"]:
    """max(1, ln count / ln original)."""
    real = jnp.maximum(count, 1).astype(dtype if jnp.finfo(dtype).bits > 32 else jnp.float32)
    return jnp.maximum(jnp.log(real) / math.log(original), 1).astype(dtype)

"""Sharper attention for longer inputs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Num

from jaxemb.config import ConfigError
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper


class LogitScale(_Wrapper):
    """Multiplies the attention logits by max(1, ln n / ln Lo), n being the number of tokens of the example, padding left out.

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
        k: Float[Array, "b n h e"],
        v: Float[Array, "b n h e"],
        shared: object,
        *,
        mask: Bool[Array, "b n"] | None = None,
        causal: bool = False,
    ) -> Float[Array, "b n h e"]:
        valid = jnp.ones((1, q.shape[1]), bool) if mask is None else mask
        place = jnp.cumsum(valid, axis=1)
        count = place if self.each else place[:, -1:]
        return self.of.attend(
            q * logit_scale(count, self.original, q.dtype)[:, :, None, None], k, v, shared, mask=mask, causal=causal
        )


def logit_scale(count: Num[Array, "*b"], original: int, dtype: Any = jnp.float32) -> Float[Array, "*b"]:
    """max(1, ln count / ln original)."""
    real = jnp.maximum(count, 1).astype(dtype if jnp.finfo(dtype).bits > 32 else jnp.float32)
    return jnp.maximum(jnp.log(real) / math.log(original), 1).astype(dtype)

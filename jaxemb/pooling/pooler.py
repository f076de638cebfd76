"""BERT's own pooling."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.layers.dense import Dense
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class Pooler(Pooling):
    """z = tanh(x W + b) of the class token: the first extra token of an encoder that has such, else the first of the tokens that
    are no padding. All padding: of the very first.

    Parameters: dense (kernel, bias).
    """

    paper: ClassVar[Paper | None] = Paper(
        "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2018, "arxiv.org/abs/1810.04805"
    )

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b d"]:
        x = f.tokens[jnp.arange(f.mask.shape[0]), f.mask.argmax(1)] if f.prefix is None else f.prefix[:, 0]
        return jnp.tanh(Dense(x.shape[-1], name="dense")(x))

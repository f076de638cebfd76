"""The token that ends a text."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class EndToken(Pooling):
    """The first token whose id is `id`, as in CLIP: with causal attention it alone has seen the whole text.

    Where no token has that id, the first one that counts. Needs an encoder of token ids.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision", 2021, "arxiv.org/abs/2103.00020"
    )

    id: int | None = None
    """None: the highest id of the text, which in CLIP's first vocabulary is that token."""

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        if f.ids is None:
            raise ConfigError("EndToken looks for a token id, and the encoder's inputs are no ids")
        ids = jnp.where(f.mask, f.ids, -1)
        found = f.mask & (ids == (ids.max(1, keepdims=True) if self.id is None else self.id))
        at = jnp.where(found.any(1), found.argmax(1), f.mask.argmax(1))
        return f.tokens[jnp.arange(at.shape[0]), at]

"""The first token."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.pooling.base import Pooling
from jaxemb.types import Features


class First(Pooling):
    """The first token that counts: "cls" of text encoders, whose class token is one of the sequence.

    `Token` takes the class token of encoders that add their own. Nothing counts: the token at position 0, as in
    sentence-transformers.
    """

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        return f.tokens[jnp.arange(f.mask.shape[0]), f.mask.argmax(1)]

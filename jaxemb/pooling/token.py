"""One token for all."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features


class Token(Pooling):
    """The class token that the encoder adds; `Token(last=True)` the last token that counts instead, as in decoders.

    `First` is the first one that counts. Nothing counts: zeros for the last.
    """

    last: bool = False
    """Take the last token that counts, for encoders without a class token."""

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        if self.last:
            return last(f.tokens, f.mask)
        if f.prefix is None:
            raise ConfigError("Token pooling needs an encoder with class_token=True (or First(), or Token(last=True))")
        return f.prefix[:, 0]


def last(tokens: Float[Array, "b n d"], mask: Array) -> Float[Array, "b d"]:
    """The last token of each row where the mask is True; zeros where there is none."""
    at = mask.shape[1] - 1 - mask[:, ::-1].argmax(1)
    return jnp.where(mask.any(1)[:, None], tokens[jnp.arange(at.shape[0]), at], 0)

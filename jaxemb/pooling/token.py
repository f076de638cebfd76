"""One token for all."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features


class Token(Pooling):
    """The class token; `Token(last=True)` the last valid token instead, as in decoders."""

    last: bool = False
    """Take the last token that is not padding, for encoders without a class token."""

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        if self.last:
            at = f.mask.shape[1] - 1 - f.mask[:, ::-1].argmax(1)
            return f.tokens[jnp.arange(at.shape[0]), at]
        if f.prefix is None:
            raise ConfigError("Token pooling needs an encoder with class_token=True (or Token(last=True))")
        return f.prefix[:, 0]

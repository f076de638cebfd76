"""The family of poolings: from the tokens of an encoder to one vector an example."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.types import Features, Paper


class Pooling(nn.Module):
    """Maps `Features` to one row an example, or to several (b m d). Tokens that do not count (mask False) cannot change the
    result."""

    paper: ClassVar[Paper | None] = None

    def __call__(self, f: Features) -> Float[Array, "b *m d"]:
        raise TypeError(f"{type(self).__name__} does not define __call__")

    def wants(self, depth: int) -> tuple[int, ...]:
        """The layers whose outputs it reads in `Features.layers`, beside the encoder's own output: what a caller asks an encoder of
        `depth` layers for."""
        return ()

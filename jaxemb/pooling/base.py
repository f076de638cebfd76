"""The family of poolings: from the tokens of an encoder to one vector an example."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.types import Features, Paper


class Pooling(nn.Module):
    """Maps `Features` to one row an example. Padded tokens (mask False) cannot change the result."""

    paper: ClassVar[Paper | None] = None

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        raise TypeError(f"{type(self).__name__} does not define __call__")

"""The family of positional embeddings: override what applies, nothing else."""

from __future__ import annotations

from typing import ClassVar

from flax import linen as nn
from jax import Array
from jaxtyping import Float, Num

from jaxemb.types import Paper


class PosEmb(nn.Module):
    """Says where tokens are. `pos` (b n a) is data, passed in: never an `arange` of the encoder's own.

    A member overrides the one hook that its kind needs; the others leave their input alone.
    """

    paper: ClassVar[Paper | None] = None

    def add(self, x: Float[Array, "b n d"], pos: Num[Array, "b n a"]) -> Float[Array, "b n d"]:
        """Absolute kinds: add to the tokens, once, before the first layer."""
        return x

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b n h e"], pos: Num[Array, "b n a"]
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b n h e"]]:
        """Rotary kinds: turn queries and keys, in every layer."""
        return q, k

    def bias(self, pos_q: Num[Array, "b n a"], pos_k: Num[Array, "b m a"], heads: int) -> Float[Array, "b h n m"] | None:
        """Relative kinds: a term added to the attention logits, computed once a forward pass."""
        return None

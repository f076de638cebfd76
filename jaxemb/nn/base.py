"""Two families: encoders, and the stems that give an encoder its first vectors."""

from __future__ import annotations

from typing import Any, ClassVar

from flax import linen as nn
from jax import Array

from jaxemb.types import Features, Paper


class Encoder(nn.Module):
    """From inputs to `Features`. Rows are independent of each other, but for batch norm in training.

    What an objective asks of it beyond this (`keep`, `layers`, positions, packed texts) a Transformer alone can do.
    """

    family: ClassVar[str] = "encoders"
    paper: ClassVar[Paper | None] = None

    def __call__(self, inputs: Array, **how: Any) -> Features:
        """Every encoder takes `train: bool = False`."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


class Stem(nn.Module):
    """Says how inputs become tokens. The encoder passes its width and dtype, so that they are written once."""

    family: ClassVar[str] = "stems"
    paper: ClassVar[Paper | None] = None

    def __call__(
        self, inputs: Array, *, width: int, keep: Array | None = None, types: Array | None = None, dtype: str = "float32"
    ) -> Array:
        """The tokens, b n d. `keep` (b k) picks some before anything is computed for them; `types` (b n) are of token ids."""
        raise TypeError(f"{type(self).__name__} does not define __call__")

    def positions(self, inputs: Array, keep: Array | None = None) -> Array:
        """Where the tokens are, #b n a; the first axis is 1 where all examples have the same positions."""
        raise TypeError(f"{type(self).__name__} does not define positions")

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Positions along each axis, of one input of this shape; None where that is not fixed."""
        return None

    def picture(self, inputs: Array) -> Array | None:
        """The inputs as images (b H W c), where they are."""
        return None

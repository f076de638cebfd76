"""The letters and the few records that every family shares.

Letters of the shape annotations, one glossary for the whole package:

    b batch       m candidates   n tokens      d width       h heads      e head width
    l layers      a position axes              c channels    v vocabulary
    k neighbours or kept tokens  r rank        H W image height and width

`Features` and `Loss` are NamedTuples, not `flax.struct` dataclasses: a dataclass with shaped annotations breaks under the
jaxtyping import hook as soon as `vmap`, `eval_shape` or `tree.map` rebuild it with something that is not an array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # data workers import this module, and must not pay for JAX
    from jax import Array

Batch = Mapping[str, Any]
"""Arrays by name; every one leads with the batch axis. Padding is `"mask": Bool[b n]`."""


@dataclasses.dataclass(frozen=True)
class Paper:
    """Where a method comes from; printed by `jaxemb list` and in docs/methods.md."""

    title: str
    year: int
    url: str = ""

    def __str__(self) -> str:
        return f"{self.title} ({self.year})"


class Features(NamedTuple):
    """What an encoder returns."""

    tokens: Array
    """b n d: one row a token, aligned with the positions that went in (no class or register tokens)."""
    mask: Array
    """b n, bool: False where a token is padding."""
    layers: tuple = ()
    """The outputs of the layers that were asked for, each b n d, before the final norm."""
    prefix: Array | None = None
    """b p d: the class token (first, if there is one) and the register tokens; None without either."""


class Loss(NamedTuple):
    """What an objective returns."""

    value: Array
    """Scalar, what the gradient is taken of."""
    logs: dict = {}
    """Scalars by name, written to metrics.jsonl."""
    views: dict = {}
    """Embeddings by name that online metrics may read."""

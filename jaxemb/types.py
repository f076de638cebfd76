"""The letters and the few records that every family shares.

Letters of the shape annotations, one glossary for the whole package:

    b batch       m candidates   n tokens      d width       h heads      e head width
    l layers      a position axes              c channels    v vocabulary
    k neighbours or kept tokens  r rank        H W image height and width

`Features`, `Averaged` and `Loss` are NamedTuples, not `flax.struct` dataclasses: a dataclass with shaped annotations breaks under
the jaxtyping import hook as soon as `vmap`, `eval_shape` or `tree.map` rebuild it with something that is not an array.
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
    """b n, bool: False where a token is padding, and for a pooling also where it does not count, such as those of a prompt."""
    layers: tuple = ()
    """The outputs of the layers that were asked for, each b n d, before the final norm."""
    prefix: Array | None = None
    """b p d: the class token (first, if there is one) and the register tokens; None without either."""
    ids: Array | None = None
    """b n: the token ids, where the inputs were such."""
    seen: Array | None = None
    """b n, bool: False where a token is padding alone, where `mask` leaves out others as well; None: `mask` says it."""
    chunks: Array | None = None
    """b n, int: the part of its text that a token belongs to (0, 1, ...; -1: none), where parts get vectors of their own."""


class Now(NamedTuple):
    """What targets and losses may know of time. Made by the train step, one for each micro-batch."""

    step: Any
    """Updates done so far, int32 scalar; all micro-batches of an update have the same."""
    total: int
    """Updates of the whole training."""
    key: Array
    """A random key for numbers that teacher and student must share: both get this very key. What is the student's own, such as
    dropout, comes from `self.make_rng("dropout")`."""


class Averaged(NamedTuple):
    """A logged mean with a denominator of its own, such as an accuracy over the rows whose label is known."""

    value: Array
    weight: Any
    """The denominator. As `Loss.weight`: from the batch alone, and where it is 0, value is 0."""


class Loss(NamedTuple):
    """What an objective returns."""

    value: Array
    """Scalar, what the gradient is taken of."""
    weight: Any = 1.0
    """The denominator of `value`, where that is a mean over what differs between micro-batches, such as tokens that are no padding.
    An update over micro-batches has the gradient of sum(value weight) / sum(weight). It follows from the batch alone, never from
    parameters; where it is 0, value is 0, never 0/0."""
    logs: dict = {}
    """Scalars by name, written to metrics.jsonl: those that have the denominator of `value` as they are, others as `Averaged`. Of
    an update over micro-batches the mean by these weights is written: that of the whole batch, but for what is no mean over its
    rows (deviations, contrastive figures), where it is the mean of the micro-batches' own."""
    views: dict = {}
    """Embeddings by name that online metrics may read."""

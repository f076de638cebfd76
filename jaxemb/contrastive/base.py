"""The family of contrastive losses: they compare rows with rows, have no parameters and know nothing of what made the rows."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class ContrastiveLoss(abc.ABC):
    """(queries, candidates, positives, weights, keep) -> Loss; members define `compare`.

    Query i and its positive, the candidate p_i, are pair i; every other candidate is a negative, or is looked at in the way of the
    member. Computed in float32 or better. The order of the pairs does not matter.
    """

    paper: ClassVar[Paper | None] = None

    def __call__(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None = None,
        weights: Float[Array, " b"] | None = None,
        keep: Bool[Array, "b m"] | None = None,
    ) -> Loss:
        """The mean over the pairs.

        `positives`: the place of each query's positive among the candidates; None: candidate i is that of query i, and those after
        the first b are negatives alone. A pair that counts and has no such place is refused; inside a transformed function, where
        numbers are not known, the loss and its gradient are NaN.
        `weights`: how often a pair counts, 0 where it is padding; the loss is a mean by them, and where all are 0, it is 0.
        `keep`: False where candidate j, and the query whose positive it is, must not be a negative for pair i: a false one, or
        padding. Positives always count. A loss without negatives does not look at it.
        """
        b, m = len(queries), len(candidates)
        if not b:
            raise ConfigError(f"{type(self).__name__}: there are no queries to compare")
        if positives is None and m < b:
            raise ConfigError(
                f"{type(self).__name__}: {b} queries have {m} candidates; each needs one, or `positives` that say which"
            )
        queries, candidates = queries.astype(wide(queries)), candidates.astype(wide(candidates))
        weights = jnp.ones(b, queries.dtype) if weights is None else weights.astype(queries.dtype)
        keep = jnp.ones((b, m), bool) if keep is None else keep
        if positives is None:
            return self.compare(queries, candidates, None, weights, keep)
        lost = self._lost(positives, weights, m)
        loss = self.compare(queries, candidates, jnp.clip(positives, 0, m - 1), weights, keep)
        return loss._replace(value=loss.value * jnp.where(lost, jnp.nan, jnp.ones_like(loss.value)))

    def _lost(self, positives: Int[Array, " b"], weights: Float[Array, " b"], m: int) -> Bool[Array, ""]:
        """Whether a pair that counts has its positive outside of the candidates."""
        outside = ((positives < 0) | (positives >= m)) & (weights != 0)
        if not isinstance(outside, Tracer) and outside.any():
            wrong = positives[outside.argmax()]
            raise ConfigError(
                f"{type(self).__name__}: positives must lie in 0 to {m - 1}, the places of the candidates, not {wrong}"
            )
        return outside.any()

    @abc.abstractmethod
    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
    ) -> Loss:
        """As `__call__`; rows are float32 or better, and nothing but `positives` can be None."""


def matched(x: Array, positives: Int[Array, " b"] | None, b: int, axis: int = 0) -> Array:
    """Of what there is for each candidate, that of each query's positive. Without `positives` nothing moves between devices."""
    if positives is None:
        return jax.lax.slice_in_dim(x, 0, b, axis=axis)
    return jnp.take(x, positives, axis=axis)


def weighted(x: Float[Array, " b"], weights: Float[Array, " b"]) -> Float[Array, ""]:
    """The mean over the pairs; 0 where none counts."""
    total = weights.sum()
    return (x * weights).sum() / jnp.where(total > 0, total, jnp.ones_like(total))

"""CoSENT: pairs of a higher score are more alike than those of a lower one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, matched
from jaxemb.contrastive.distance import distance
from jaxemb.contrastive.graded import own_rows, scores_of
from jaxemb.ops.rows import by_rows, everywhere
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class CoSENT(ContrastiveLoss):
    """Ranks the pairs of a batch by their scores y (Su 2022, "CoSENT"; Huang et al. 2024):

        loss = log(1 + sum over y_i > y_j of exp((s_j - s_i) / temperature))

    s_i is the similarity of query i and its positive. Scores of any range will do: only their order counts, and pairs of equal
    scores are not compared. `negatives`: without scores, the pairs are the positives and, below them, the queries with their own
    hard negatives. The logarithm of a sum, no mean: a larger batch has a larger loss.
    """

    paper: ClassVar[Paper | None] = Paper(
        "CoSENT: Consistent Sentence Embedding via Similarity Ranking", 2024, "doi.org/10.1109/TASLP.2024.3402087"
    )

    temperature: float = 0.05
    similarity: str = "cosine"
    """cosine, dot, euclidean (-|q - c|)"""
    negatives: bool = False
    """Whether the pairs are the positives and the own hard negatives, and not scored ones."""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        choices(self, similarity=("cosine", "dot", "euclidean"))

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("own",) if self.negatives else ("scores",)

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        s, y, w = pairs_of(self, self.alike, queries, candidates, positives, weights, keep, known)
        return Loss(ordered(s / self.temperature, y, w), weight=weights.sum())

    def alike(self, a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
        """Of each row of a and the same one of b."""
        if self.similarity == "euclidean":
            return -distance("euclidean", a, b)
        return ((unit(a) * unit(b)) if self.similarity == "cosine" else a * b).sum(-1)


def pairs_of(
    owner: Any,
    alike: Callable[[Array, Array], Array],
    queries: Float[Array, "b d"],
    candidates: Float[Array, "m d"],
    positives: Int[Array, " b"] | None,
    weights: Float[Array, " b"],
    keep: Bool[Array, "b m"],
    known: Known,
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """(similarity, score, weight) of the pairs: the scored ones, or the positives and then the own hard negatives."""
    s = alike(queries, matched(candidates, positives, len(queries)))
    if not owner.negatives:
        return s, scores_of(owner, known, weights), weights
    n, there = own_rows(candidates, jnp.asarray(known.own), positives, keep)
    of_negatives = alike(*jnp.broadcast_arrays(queries[:, None], n))
    w = jnp.where(there, weights[:, None], jnp.zeros_like(of_negatives))
    y = jnp.concatenate([jnp.ones_like(s), jnp.zeros_like(w).ravel()])
    return jnp.concatenate([s, of_negatives.ravel()]), y, jnp.concatenate([weights, w.ravel()])


def ordered(s: Float[Array, " n"], y: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, ""]:
    """log(1 + sum over y_i > y_j of w_i w_j exp(s_j - s_i)); NaN where a score that counts is."""
    both = by_rows(w[:, None] * everywhere(w)[None])
    compared = by_rows(y[:, None] > everywhere(y)[None]) & (both > 0)
    logits = everywhere(s)[None] - s[:, None] + jnp.log(jnp.where(compared, both, jnp.ones_like(both)))
    masked = by_rows(jnp.where(compared, logits, -jnp.inf))
    most = jax.lax.stop_gradient(jnp.maximum(masked.max(), jnp.zeros((), s.dtype)))
    value = most + jnp.log(jnp.exp(-most) + jnp.exp(masked - most).sum())
    return value + jnp.where(jnp.isnan(y).any(), jnp.nan, jnp.zeros_like(value))

"""Multi-similarity of labelled groups: soft sums over the pairs that a miner finds informative."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import above_zero, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, weighted
from jaxemb.contrastive.groups import grouped
from jaxemb.contrastive.softmax import log_sum, products
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class MultiSimilarity(ContrastiveLoss):
    """Of the pairs (query, candidate) that are mined, s the cosine (Wang et al., CVPR 2019; SapBERT's and HiPrBERT's synonyms):

        loss_i = log(1 + sum_p exp(alpha (base - s_ip))) / alpha + log(1 + sum_n exp(beta (s_in - base))) / beta

    Mined are p of the query's group below the nearest n + epsilon, and n of others above the farthest p - epsilon; this choice
    carries no gradient. The mean is over all queries, also those without a mined pair, which add 0: so do groups of one member.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning", 2019, "arxiv.org/abs/1904.06627"
    )
    needs: ClassVar[tuple[str, ...]] = ("labels", "candidate_labels")

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5
    epsilon: float = 0.1
    themselves: bool = False
    """Whether the candidates are the queries themselves: then candidate i is no positive of query i."""

    def __post_init__(self) -> None:
        above_zero(self, "alpha", "beta")
        not_negative(self, "epsilon")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        near, far = grouped(known, positives, keep, self.themselves)
        s = products(unit(queries), unit(candidates))
        highest = jnp.where(far, s, -jnp.inf).max(1, keepdims=True)
        lowest = jnp.where(near, s, jnp.inf).min(1, keepdims=True)
        near, far = near & (s - self.epsilon < highest), far & (s + self.epsilon > lowest)
        zero = jnp.zeros((len(s), 1), s.dtype), jnp.ones((len(s), 1), bool)
        together = log_sum(zero, (self.alpha * (self.base - s), near)) / self.alpha
        apart = log_sum(zero, (self.beta * (s - self.base), far)) / self.beta
        return Loss(weighted(together + apart, weights), weight=weights.sum())

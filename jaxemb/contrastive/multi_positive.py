"""InfoNCE of queries with several positives: LIMIT's free embeddings, in the form of its code and in that of the paper."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, weighted
from jaxemb.contrastive.softmax import SIMILARITIES, alike, hot, log_sum, places_of, products
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class MultiPositive(ContrastiveLoss):
    """Query i has the positives P_i: p_i and those that `known.also` names (LIMIT, Weller et al. 2025), s / temperature the logits:

        each  -mean over all positive pairs (i, j) of log (e^s_ij / Z_i): the code; with k positives at least log k
        any   -mean over i of log (sum over P_i of e^s_ij / Z_i): the paper; at least 0

    Z_i sums all candidates, the other positives too. Positives count whatever `keep` says.
    """

    paper: ClassVar[Paper | None] = Paper(
        "On the Theoretical Limitations of Embedding-Based Retrieval", 2025, "arxiv.org/abs/2508.21038"
    )
    needs: ClassVar[tuple[str, ...]] = ("also",)

    temperature: float = 0.1
    form: str = "each"
    """each, any"""
    similarity: str = "cosine"
    """cosine, dot"""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        choices(self, form=("each", "any"), similarity=SIMILARITIES)

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        b, m = keep.shape
        q, c = alike(self.similarity, queries, candidates)
        logits = products(q, c) / self.temperature
        positive = hot(places_of(positives, b), m) | jnp.asarray(known.also)
        log_z = log_sum((logits, keep | positive))
        if self.form == "any":
            return Loss(weighted(log_z - log_sum((logits, positive)), weights), weight=weights.sum())
        each = jnp.where(positive, log_z[:, None] - logits, jnp.zeros_like(logits)).sum(1)
        total = (positive.sum(1).astype(weights.dtype) * weights).sum()
        return Loss((each * weights).sum() / jnp.where(total > 0, total, jnp.ones_like(total)), weight=total)

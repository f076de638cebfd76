"""GIST: a guide model says which negatives of the batch are none."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, matched, weighted
from jaxemb.contrastive.softmax import hot, log_sum, nearest, other_pairs, own_negatives, picked, places_of, products
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class GIST(ContrastiveLoss):
    """Guided in-sample selection of negatives (Solatorio 2024): what a guide finds closer than the positive is no negative.

        loss_i = log Z_i - s(q_i, p_i) / temperature,   s the cosine,
        Z_i sums exp(s / temperature) of q_i with all candidates, of q_i with other queries, of p_i with other positives,
        without those pairs whose cosine by the guide is above that of (q_i, p_i) less the margin

    The margin is subtracted as it is ("absolute"), or as a share of the absolute value of the guide's cosine of the pair
    ("relative"), so that a negative one lowers the threshold as well. `removed`: the share of the candidates that the guide took
    out; `accuracy`: how often the positive is strictly the nearest of those left.
    """

    paper: ClassVar[Paper | None] = Paper(
        "GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning",
        2024,
        "arxiv.org/abs/2402.16829",
    )

    temperature: float = 0.01
    margin: float = 0.0
    margin_kind: str = "absolute"
    """absolute, relative"""
    queries: bool = True
    """Whether other queries are negatives of a query."""
    positives: bool = True
    """Whether other positives are negatives of a positive."""
    spare_own: bool = False
    """Whether the guide has no say about a query's own hard negatives, which somebody chose; True needs `known.own`."""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        choices(self, margin_kind=("absolute", "relative"))
        not_negative(self, "margin")

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("guide", "own") if self.spare_own else ("guide",)

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
        q, c = unit(queries), unit(candidates)
        positive, pairs = hot(places_of(positives, b), m), other_pairs(positives, weights, keep)
        closer, of_queries, of_positives = self.closer(positives, known)
        others = keep & ~positive
        logits = products(q, c) / self.temperature
        blocks = [(logits, (others & ~closer) | positive)]
        if self.queries:
            blocks.append((products(q, q) / self.temperature, pairs & ~of_queries))
        if self.positives:
            p = matched(c, positives, b)
            blocks.append((products(p, p) / self.temperature, pairs & ~of_positives))
        logit = picked(logits, positive)
        right, gone = nearest(logit, (logits, others & ~closer)), (others & closer).sum(1) / m
        logs = {"accuracy": weighted(right, weights), "removed": weighted(gone.astype(q.dtype), weights)}
        return Loss(weighted(log_sum(*blocks) - logit, weights), weight=weights.sum(), logs=logs)

    def closer(
        self, positives: Int[Array, " b"] | None, known: Known
    ) -> tuple[Bool[Array, "b m"], Bool[Array, "b b"], Bool[Array, "b b"]]:
        """What the guide finds closer than a pair: candidates to the query, queries to it, other positives to the positive."""
        q, c = (unit(x.astype(wide(x))) for x in jax.lax.stop_gradient(known.guide or ()))
        b, m, p = len(q), len(c), matched(c, positives, len(q))
        guide, positive = products(q, c), hot(places_of(positives, b), m)
        sigma = picked(guide, positive)[:, None]
        margin = self.margin * (jnp.abs(sigma) if self.margin_kind == "relative" else jnp.ones_like(sigma))
        found = (guide > sigma - margin) & ~positive
        if self.spare_own:
            found = found & ~own_negatives(jnp.asarray(known.own), m)
        return found, products(q, q) > sigma - margin, products(p, p) > sigma - margin

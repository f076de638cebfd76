"""SimCSE: in-batch cross-entropy of two dropout views, or of entailed sentences with contradictions as hard negatives."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import above_zero
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, weighted
from jaxemb.contrastive.softmax import hot, log_sum, nearest, own_negatives, picked, places_of, products
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class SimCSE(ContrastiveLoss):
    """The loss of SimCSE (Gao et al., EMNLP 2021), with the cosine s:

        loss_i = log sum_j w_ij exp(s(q_i, c_j) / temperature) - s(q_i, p_i) / temperature

    w_ij is `negative_weight` where c_j is a hard negative of query i itself, else 1. Unsupervised, the positive is the same text
    with other dropout; supervised, candidates are the positives and the hard negatives of all queries. `accuracy`: how often the
    positive is strictly the nearest.
    """

    paper: ClassVar[Paper | None] = Paper(
        "SimCSE: Simple Contrastive Learning of Sentence Embeddings", 2021, "arxiv.org/abs/2104.08821"
    )

    temperature: float = 0.05
    negative_weight: float = 1.0
    """Of the own hard negatives; other than 1 it needs `known.own`."""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        above_zero(self, "negative_weight")

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return () if self.negative_weight == 1 else ("own",)

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
        positive = hot(places_of(positives, b), m)
        logits = products(unit(queries), unit(candidates)) / self.temperature
        logit, others, summed = picked(logits, positive), keep & ~positive, logits
        if known.own is not None and self.negative_weight != 1:
            own = own_negatives(known.own, m) & ~positive
            summed = logits + jnp.where(own, math.log(self.negative_weight), jnp.zeros_like(logits))
        nll = log_sum((summed, others | positive)) - logit
        accuracy = weighted(nearest(logit, (logits, others)), weights)
        return Loss(weighted(nll, weights), weight=weights.sum(), logs={"accuracy": accuracy})

"""Mega-batch margin: each pair against the hardest of a large batch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import within
from jaxemb.contrastive.base import ContrastiveLoss, Known, weighted
from jaxemb.contrastive.softmax import alike, hot, nearest, picked, places_of, products
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class MegaBatchMargin(ContrastiveLoss):
    """Two margins, of the positive and of the hardest negative (Wieting & Gimpel 2018, as sentence-transformers has it):

        loss_i = relu(positive_margin - cos(q_i, p_i)) + relu(max_j cos(q_i, c_j) - negative_margin)

    over the candidates that are no positives of query i; without any the second term is 0.
    """

    paper: ClassVar[Paper | None] = Paper(
        "ParaNMT-50M: Pushing the Limits of Paraphrastic Sentence Embeddings", 2018, "arxiv.org/abs/1711.05732"
    )
    alone: ClassVar[bool] = True

    positive_margin: float = 0.8
    negative_margin: float = 0.3

    def __post_init__(self) -> None:
        within(self, positive_margin=(-2, 2), negative_margin=(-2, 2))

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
        q, c = alike("cosine", queries, candidates)
        s, positive = products(q, c), hot(places_of(positives, b), m)
        others, found = keep & ~positive, picked(s, positive)
        there = others.any(1)
        hardest = jnp.where(there, jnp.where(others, s, -jnp.inf).max(1), jnp.zeros_like(found))
        second = jnp.where(there, jax.nn.relu(hardest - self.negative_margin), jnp.zeros_like(found))
        value = weighted(jax.nn.relu(self.positive_margin - found) + second, weights)
        return Loss(value, weight=weights.sum(), logs={"accuracy": weighted(nearest(found, (s, others)), weights)})

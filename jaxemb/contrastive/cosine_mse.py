"""Regression of scores on the cosine."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched, weighted
from jaxemb.contrastive.graded import scores_of
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class CosineMSE(ContrastiveLoss):
    """loss_i = (f(cos(q_i, p_i)) - y_i)^2 of scored pairs (Sentence-BERT, Reimers & Gurevych 2019); f nothing, or the sigmoid.

    Scores lie in -1 to 1, or in 0 to 1 with the sigmoid. There are no negatives.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", 2019, "arxiv.org/abs/1908.10084"
    )
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores",)

    activation: str | None = None
    """None, sigmoid: what the cosine goes through."""

    def __post_init__(self) -> None:
        choices(self, activation=(None, "sigmoid"))

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        s = (unit(queries) * unit(matched(candidates, positives, len(queries)))).sum(1)
        s, low = (s, -1.0) if self.activation is None else (jax.nn.sigmoid(s), 0.0)
        apart = s - scores_of(self, known, weights, low, 1.0)
        return Loss(weighted(jnp.square(apart), weights), weight=weights.sum())

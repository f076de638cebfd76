"""Similarity matching: rows are as near to each other as a guide's rows are."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, weighted
from jaxemb.contrastive.softmax import hot, places_of, products
from jaxemb.contrastive.wrapper import divergence
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss


@dataclasses.dataclass(frozen=True)
class SimilarityMatching(ContrastiveLoss):
    """loss_i = KL(softmax(g_i / temperature) || softmax(s_i / temperature)) + square mean_j (s_ij - g_ij)^2

    s_ij the cosine of query i and candidate j, g_ij that of a guide's vectors of the two, over all candidates that `keep` does not
    leave out; which of them is the positive does not matter. For rows that are to keep the neighbours that others have, as codes of
    a few bits those of the vectors that they were made of, with no pairs that anybody chose.
    """

    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("guide",)

    temperature: float = 0.05
    square: float = 10.0
    """The factor of the squared differences; 0: none."""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        not_negative(self, "square")

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
        guide = (unit(x.astype(wide(x))) for x in jax.lax.stop_gradient(known.guide or ()))
        s, g = products(unit(queries), unit(candidates)), products(*guide)
        there = keep | hot(places_of(positives, b), m)
        apart = jnp.where(there, s - g, jnp.zeros_like(s))
        square = (apart * apart).sum(1) / there.sum(1).astype(s.dtype)
        each = divergence(g / self.temperature, s / self.temperature, there) + self.square * square
        return Loss(weighted(each, weights), weight=weights.sum(), logs={"square": weighted(square, weights)})

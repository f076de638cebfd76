"""AnglE: scored pairs are ranked by an angle between complex numbers, which saturates nowhere."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import above_zero, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature
from jaxemb.contrastive.cosent import CoSENT, ordered, pairs_of
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class AnglE(ContrastiveLoss):
    """As CoSENT, of another similarity (Li & Li, ACL 2024):

        s(q, c) = |sum of the real and of the imaginary part of q conj(c)|,   a row (re | im) as a complex number a dimension

    of unit vectors; one of odd width gets a 0. `cosine_weight` adds CoSENT's loss of the cosine, and `batch_weight` InfoNCE, in
    which a scored pair counts by its score: the three terms of the paper, these two at `pair_temperature`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "AoE: Angle-optimized Embeddings for Semantic Textual Similarity", 2024, "arxiv.org/abs/2309.12871"
    )

    temperature: float = 0.05
    negatives: bool = False
    """Whether the pairs are the positives and the own hard negatives, and not scored ones."""
    cosine_weight: float = 0.0
    batch_weight: float = 0.0
    pair_temperature: float = 0.05

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        above_zero(self, "pair_temperature")
        not_negative(self, "cosine_weight", "batch_weight")

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
        rows = queries, candidates, positives, weights, keep, known
        s, y, w = pairs_of(self, angle, *rows)
        terms = {"angle": ordered(s / self.temperature, y, w)}
        value = terms["angle"]
        if self.cosine_weight:
            terms["cosine"] = CoSENT(self.pair_temperature, negatives=self.negatives).compare(*rows).value
            value = value + self.cosine_weight * terms["cosine"]
        if self.batch_weight:
            counts = weights if self.negatives else weights * jnp.maximum(y, jnp.zeros_like(y))
            terms["batch"] = InfoNCE(self.pair_temperature).compare(*rows[:3], counts, keep, known).value
            value = value + self.batch_weight * terms["batch"]
        return Loss(value, weight=weights.sum(), logs=terms if len(terms) > 1 else {})


def angle(a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """|sum over dimensions of re + im of a conj(b)| of unit vectors, the first half of a row being the real parts."""
    a, b = (jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, x.shape[-1] % 2)]) for x in (unit(a), unit(b)))
    (a_re, a_im), (b_re, b_im) = (jnp.split(x, 2, axis=-1) for x in (a, b))
    return jnp.abs((a_re * b_re + a_im * b_im + a_im * b_re - a_re * b_im).sum(-1))

"""Distillation of a teacher's ranking: the distribution over a list of candidates."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import above_zero, choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, weighted
from jaxemb.contrastive.margin_mse import listed
from jaxemb.contrastive.softmax import SIMILARITIES
from jaxemb.contrastive.wrapper import divergence
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class DistillKL(ContrastiveLoss):
    """The positive and the query's own hard negatives, as the teacher ranks them (Hinton et al. 2015; E5, KaLM-Embedding):

        loss_i = student_temperature^2 KL(softmax(t_i / teacher_temperature) || softmax(s_i / student_temperature))

    s the dot product or the cosine, t the teacher's scores. A negative that is not there is in neither softmax; a query without any
    adds 0. E5 adds InfoNCE: `WeightedSum((DistillKL("cosine", 0.05), InfoNCE(0.05)), (400, 0.2))`, 400 = 1 / 0.05^2.
    """

    paper: ClassVar[Paper | None] = Paper("Distilling the Knowledge in a Neural Network", 2015, "arxiv.org/abs/1503.02531")
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("own", "teacher")

    similarity: str = "dot"
    """dot, cosine"""
    student_temperature: float = 1.0
    teacher_temperature: float = 1.0

    def __post_init__(self) -> None:
        choices(self, similarity=SIMILARITIES)
        above_zero(self, "student_temperature", "teacher_temperature")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        s, t, there = listed(self, self.similarity, queries, candidates, positives, keep, known)
        each = divergence(t / self.teacher_temperature, s / self.student_temperature, there)
        return Loss(self.student_temperature**2 * weighted(each, weights), weight=weights.sum())

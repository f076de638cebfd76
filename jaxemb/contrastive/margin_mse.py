"""Margin-MSE: the student's margins are the teacher's."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched
from jaxemb.contrastive.graded import counted, mean_where, own_rows
from jaxemb.contrastive.softmax import SIMILARITIES, alike
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class MarginMSE(ContrastiveLoss):
    """The mean over the queries' own hard negatives n of (Hofstätter et al. 2020):

        ((s(q_i, p_i) - s(q_i, n)) - (t(q_i, p_i) - t(q_i, n)))^2,   t the teacher's scores, s the dot product or the cosine

    A teacher of whom only margins are known has scores of 0 and minus those. A query without a negative does not count.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation", 2020, "arxiv.org/abs/2010.02666"
    )
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("own", "teacher")

    similarity: str = "dot"
    """dot, cosine"""

    def __post_init__(self) -> None:
        choices(self, similarity=SIMILARITIES)

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
        apart = (s[:, :1] - s[:, 1:]) - (t[:, :1] - t[:, 1:])
        there = there[:, 1:]
        return Loss(mean_where(jnp.square(apart), there, weights), weight=counted(there, weights))


def listed(
    owner: ContrastiveLoss,
    similarity: str,
    queries: Float[Array, "b d"],
    candidates: Float[Array, "m d"],
    positives: Int[Array, " b"] | None,
    keep: Bool[Array, "b m"],
    known: Known,
) -> tuple[Float[Array, "b k"], Float[Array, "b k"], Bool[Array, "b k"]]:
    """(scores of the student, those of the teacher, whether it is there) of the positive and of the own hard negatives."""
    own, teacher = jnp.asarray(known.own), jax.lax.stop_gradient(jnp.asarray(known.teacher)).astype(queries.dtype)
    if teacher.ndim != 2 or teacher.shape[1] != 1 + own.shape[1]:
        raise ConfigError(
            f"{type(owner).__name__}: known.teacher has the shape {teacher.shape}; with {own.shape[1]} hard negatives it is (b, "
            f"{1 + own.shape[1]}): the scores of the positive and of each of them"
        )
    n, there = own_rows(candidates, own, positives, keep)
    q, p = alike(similarity, queries, matched(candidates, positives, len(queries)))
    n = unit(n) if similarity == "cosine" else n
    s = jnp.concatenate([(q * p).sum(1, keepdims=True), jnp.einsum("bd,bkd->bk", q, n)], axis=1)
    there = jnp.concatenate([jnp.ones((len(q), 1), bool), there], axis=1)
    return s, jnp.where(there, teacher, jnp.zeros_like(teacher)), there

"""The triplet loss: a positive nearer than a hard negative, by a margin."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched
from jaxemb.contrastive.distance import DISTANCES, distance
from jaxemb.contrastive.graded import check_margin, counted, mean_where, own_rows
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class Triplet(ContrastiveLoss):
    """The mean over the queries' own hard negatives n (Weinberger & Saul 2009; FaceNet, Schroff et al. 2015):

        relu(d(q_i, p_i) - d(q_i, n) + margin)

    A query with several counts with each, one without any does not count. Distances are not squared.
    """

    paper: ClassVar[Paper | None] = Paper(
        "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, "arxiv.org/abs/1503.03832"
    )
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("own",)

    margin: float = 0.2
    distance: str = "cosine"
    """cosine (1 - cos), euclidean, manhattan"""

    def __post_init__(self) -> None:
        check_margin(self, "margin")
        choices(self, distance=DISTANCES)

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        n, there = own_rows(candidates, jnp.asarray(known.own), positives, keep)
        near = distance(self.distance, queries, matched(candidates, positives, len(queries)))
        far = distance(self.distance, *jnp.broadcast_arrays(queries[:, None], n))
        value = mean_where(jax.nn.relu(near[:, None] - far + self.margin), there, weights)
        right = mean_where((near[:, None] < far).astype(near.dtype), there, weights)
        return Loss(value, weight=counted(there, weights), logs={"accuracy": right})

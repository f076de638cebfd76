"""The contrastive losses of pairs that do or do not belong together: near ones together, others beyond a margin."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched, weighted
from jaxemb.contrastive.distance import DISTANCES, distance
from jaxemb.contrastive.graded import check_margin, scores_of
from jaxemb.types import Loss, Paper

PAPER = Paper("Dimensionality Reduction by Learning an Invariant Mapping", 2006, "doi.org/10.1109/CVPR.2006.100")
APART = 1e-6
"""Added to each coordinate of a difference, as PyTorch does for `euclidean` and `manhattan`."""


@dataclasses.dataclass(frozen=True)
class Hadsell(ContrastiveLoss):
    """The contrastive loss of pairs with y in 0 to 1 (Hadsell et al., CVPR 2006), d the distance of query i and its positive:

        loss_i = (y_i d_i^2 + (1 - y_i) relu(margin - d_i)^2) / 2

    The mean over the pairs, or their sum. There are no other negatives than pairs of score 0.
    """

    paper: ClassVar[Paper | None] = PAPER
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores",)

    margin: float = 0.5
    distance: str = "cosine"
    """cosine (1 - cos), euclidean, manhattan"""
    reduce: str = "mean"
    """mean, sum"""

    def __post_init__(self) -> None:
        check_margin(self, "margin")
        choices(self, distance=DISTANCES, reduce=("mean", "sum"))

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        d, y = (
            apart(self.distance, queries, matched(candidates, positives, len(queries))),
            scores_of(self, known, weights, 0.0, 1.0),
        )
        each = (y * jnp.square(d) + (1 - y) * jnp.square(jax.nn.relu(self.margin - d))) / 2
        value = weighted(each, weights) if self.reduce == "mean" else (each * weights).sum()
        return Loss(value, weight=weights.sum())


@dataclasses.dataclass(frozen=True)
class OnlineContrastive(ContrastiveLoss):
    """The same of the hard pairs alone (sentence-transformers), summed and without the 1/2:

        loss = sum of d^2 over positives beyond the nearest negative + sum of relu(margin - d)^2 over negatives within the
               farthest positive

    A pair of a score above 1/2 is positive, others are negative. One pair of a kind or none is no extreme: the pairs of the other
    kind are then hard beyond (negatives: within) their own mean distance.
    """

    paper: ClassVar[Paper | None] = PAPER
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores",)

    margin: float = 0.5
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
        d = apart(self.distance, queries, matched(candidates, positives, len(queries)))
        y, counts = scores_of(self, known, weights, 0.0, 1.0), weights > 0
        near, far = counts & (y > 0.5), counts & (y <= 0.5)
        mean_near, mean_far = (weighted(d, jnp.where(kind, weights, jnp.zeros_like(weights))) for kind in (near, far))
        farthest = jnp.where(near.sum() > 1, jnp.where(near, d, -jnp.inf).max(), mean_far)
        nearest = jnp.where(far.sum() > 1, jnp.where(far, d, jnp.inf).min(), mean_near)
        each = jnp.where(near & (d > nearest), jnp.square(d), jnp.zeros_like(d))
        each = jnp.where(far & (d < farthest), jnp.square(jax.nn.relu(self.margin - d)), each)
        value = (each * weights).sum()
        return Loss(value + jnp.where(jnp.isnan(y).any(), jnp.nan, jnp.zeros_like(value)), weight=weights.sum())


def apart(kind: str, q: Float[Array, "b d"], p: Float[Array, "b d"]) -> Float[Array, " b"]:
    """How far the rows of a pair are apart, as sentence-transformers computes it."""
    return distance(kind, q, p) if kind == "cosine" else distance(kind, q + APART, p)

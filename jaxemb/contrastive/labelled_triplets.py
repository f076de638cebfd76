"""Triplets of labelled groups, mined within the batch."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, weighted
from jaxemb.contrastive.distance import distances
from jaxemb.contrastive.groups import grouped
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class LabelledTriplets(ContrastiveLoss):
    """Triplets of an anchor a (a query), p of its group and n of another (In Defense of the Triplet Loss, Hermans et al. 2017):

        h(d(a, p) - d(a, n)),   h(x) = relu(x + margin), or log(1 + e^x) without a margin (the soft margin)

    `mining`: "all" triplets, the mean over those that are above 0 · "hard": the farthest p and the nearest n, the mean over the
    anchors · "semi_hard": for every (a, p) the nearest n beyond p, or the farthest n where none is, the mean over the (a, p)
    (FaceNet). An anchor without an n adds 0; so does one whose group has no other member, but for "hard", where its farthest p is
    itself, at 0: what is nearest to it is still pushed away. All and semi-hard hold b x m x m numbers.
    """

    paper: ClassVar[Paper | None] = Paper(
        "In Defense of the Triplet Loss for Person Re-Identification", 2017, "arxiv.org/abs/1703.07737"
    )
    needs: ClassVar[tuple[str, ...]] = ("labels", "candidate_labels")

    mining: str = "hard"
    """all, hard, semi_hard"""
    margin: float | None = 0.2
    """None: the soft margin."""
    distance: str = "cosine"
    """cosine (1 - cos), euclidean"""
    themselves: bool = False
    """Whether the candidates are the queries themselves: then candidate i is no positive of query i."""

    def __post_init__(self) -> None:
        choices(self, mining=("all", "hard", "semi_hard"), distance=("cosine", "euclidean"))
        if self.margin is not None and not self.margin >= 0:
            raise ConfigError(f"LabelledTriplets: margin must not be negative, is {self.margin}; None is the soft margin")
        if self.margin is None and self.mining == "all":
            raise ConfigError("LabelledTriplets: mining='all' counts the triplets above 0, which need a margin; use 'hard' without")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        near, far = grouped(known, positives, keep, self.themselves)
        d = distances(self.distance, queries, candidates)
        value = {"all": self._all, "hard": self._hard, "semi_hard": self._semi_hard}[self.mining](d, near, far, weights)
        # The number of those that "all" divides by is known after the embeddings alone: there a pair weighs as much as any other.
        each = (near.sum(1).astype(d.dtype) * weights).sum() if self.mining == "semi_hard" else weights.sum()
        return Loss(value, weight=each)

    def _height(self, x: Array) -> Array:
        return jax.nn.softplus(x) if self.margin is None else jax.nn.relu(x + self.margin)

    def _all(
        self, d: Float[Array, "b m"], near: Bool[Array, "b m"], far: Bool[Array, "b m"], weights: Float[Array, " b"]
    ) -> Float[Array, ""]:
        there = near[:, :, None] & far[:, None]
        cost = jnp.where(there, self._height(d[:, :, None] - d[:, None]), jnp.zeros((), d.dtype))
        return _over((cost.sum((1, 2)) * weights).sum(), ((cost > 1e-16).sum((1, 2)).astype(d.dtype) * weights).sum())

    def _hard(
        self, d: Float[Array, "b m"], near: Bool[Array, "b m"], far: Bool[Array, "b m"], weights: Float[Array, " b"]
    ) -> Float[Array, ""]:
        farthest = jnp.where(near, d, jnp.zeros_like(d)).max(1)
        nearest = jnp.where(far, d, jnp.inf).min(1)
        there = far.any(1)
        cost = self._height(farthest - jnp.where(there, nearest, jnp.zeros_like(nearest)))
        return weighted(jnp.where(there, cost, jnp.zeros_like(cost)), weights)

    def _semi_hard(
        self, d: Float[Array, "b m"], near: Bool[Array, "b m"], far: Bool[Array, "b m"], weights: Float[Array, " b"]
    ) -> Float[Array, ""]:
        beyond = far[:, None] & (d[:, None] > d[:, :, None])
        there, some = far.any(1, keepdims=True), beyond.any(2)
        nearest = jnp.where(beyond, d[:, None], jnp.inf).min(2)
        farthest = jnp.where(far, d, -jnp.inf).max(1, keepdims=True)
        n = jnp.where(some, nearest, jnp.where(there, farthest, jnp.zeros_like(farthest)))
        cost = jnp.where(near & there, self._height(d - n), jnp.zeros_like(d))
        return _over((cost.sum(1) * weights).sum(), (near.sum(1).astype(d.dtype) * weights).sum())


def _over(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, ""]:
    return a / jnp.where(b > 0, b, jnp.ones_like(b))

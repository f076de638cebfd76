"""Hinge ranking, as of images and texts: the positive scores above every other candidate, by a margin."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched, weighted
from jaxemb.contrastive.graded import check_margin
from jaxemb.contrastive.softmax import alike, hot, other_pairs, picked, places_of, products
from jaxemb.ops.rows import by_rows, everywhere
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class Hinge(ContrastiveLoss):
    """The global ranking objective of image-text matching (Kiros et al. 2014; Baqapuri 2016), s a similarity:

        loss_i = sum_j relu(margin - s(q_i, p_i) + s(q_i, c_j)) + sum_j relu(margin - s(q_i, p_i) + s(q_j, p_i))

    over the candidates c_j that are no positives of query i (q2d), and over the other queries (d2q). `negatives`: "sum" as above,
    "mean" of each sum and of the two, or "hardest": the highest of each alone (VSE++, Faghri et al. 2018; it collapses where it is
    used from the start, so begin with the sum). `mean_squared`, hardest and q2d: the triplets of IMAGINATOR (Krishna et al. 2023).
    """

    paper: ClassVar[Paper | None] = Paper("Deep Learning Applied to Image and Text Matching", 2016, "arxiv.org/abs/1601.03478")

    margin: float = 0.2
    similarity: str = "cosine"
    """cosine, dot, mean_squared (minus the mean over the coordinates of the squared difference)"""
    negatives: str = "sum"
    """sum, mean, hardest"""
    directions: tuple[str, ...] = ("q2d", "d2q")

    def __post_init__(self) -> None:
        check_margin(self, "margin")
        choices(self, similarity=("cosine", "dot", "mean_squared"), negatives=("sum", "mean", "hardest"))
        given = self.directions
        if not given or len(set(given)) < len(given) or not set(given) <= {"q2d", "d2q"}:
            raise ConfigError(f"Hinge.directions={given!r}: some of q2d, d2q, each once")

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
        p, s = matched(candidates, positives, b), self._similar(queries, candidates)
        found = picked(s, positive)
        blocks = {"q2d": (s, keep & ~positive)}
        if "d2q" in self.directions:
            blocks["d2q"] = self._similar(p, queries), other_pairs(positives, weights, keep)
        each = [self._cost(found, *blocks[direction]) for direction in self.directions]
        divisor = len(each) if self.negatives == "mean" else 1
        above = jnp.where(blocks["q2d"][1], s, -jnp.inf).max(1) if "q2d" in self.directions else None
        logs = {} if above is None else {"accuracy": weighted((found > above).astype(s.dtype), weights)}
        return Loss(weighted(jnp.stack(each).sum(0) / divisor, weights), weight=weights.sum(), logs=logs)

    def _similar(self, a: Float[Array, "b d"], c: Float[Array, "m d"]) -> Float[Array, "b m"]:
        if self.similarity == "mean_squared":
            return by_rows(-jnp.square(by_rows(a)[:, None] - everywhere(c)[None]).mean(-1))
        a, c = alike(self.similarity, a, c)
        return products(a, c)

    def _cost(self, found: Float[Array, " b"], s: Float[Array, "b m"], allowed: Bool[Array, "b m"]) -> Float[Array, " b"]:
        cost = jnp.where(allowed, jax.nn.relu(self.margin - found[:, None] + s), jnp.zeros_like(s))
        if self.negatives == "hardest":
            return cost.max(1)
        return cost.sum(1) / (1 if self.negatives == "sum" else jnp.maximum(allowed.sum(1), 1).astype(s.dtype))

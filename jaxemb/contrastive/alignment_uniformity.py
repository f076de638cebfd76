"""Alignment and uniformity: pairs are near each other, and all rows spread over the sphere."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, above_zero, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched, weighted
from jaxemb.contrastive.distance import root
from jaxemb.contrastive.graded import pair_weights
from jaxemb.contrastive.softmax import products
from jaxemb.ops.rows import everywhere
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class AlignmentUniformity(ContrastiveLoss):
    """What InfoNCE asks for in the limit of many negatives, of unit vectors (Wang & Isola, ICML 2020):

    alignment   mean |q_i - p_i|^alpha
    uniformity  log mean_{i < j} exp(-t |x_i - x_j|^2), the mean of the queries' and of their positives'
    loss        align_weight alignment + uniform_weight uniformity
    """

    paper: ClassVar[Paper | None] = Paper(
        "Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
        2020,
        "arxiv.org/abs/2005.10242",
    )

    alpha: float = 2.0
    t: float = 2.0
    align_weight: float = 1.0
    uniform_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.alpha >= 1:
            raise ConfigError(f"AlignmentUniformity: alpha must be at least 1, is {self.alpha}: below, equal rows have no gradient")
        above_zero(self, "t")
        not_negative(self, "align_weight", "uniform_weight")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        q, p = unit(queries), unit(matched(candidates, positives, len(queries)))
        logs = {
            "alignment": weighted(root(jnp.square(q - p).sum(1)) ** self.alpha, weights),
            "uniformity": (uniformity(q, weights, self.t) + uniformity(p, weights, self.t)) / 2,
        }
        value = self.align_weight * logs["alignment"] + self.uniform_weight * logs["uniformity"]
        return Loss(value, weight=weights.sum(), logs=logs)


def uniformity(x: Float[Array, "b d"], weights: Float[Array, " b"], t: float) -> Float[Array, ""]:
    """log of the mean of exp(-t |x_i - x_j|^2) over the pairs of different unit rows; 0 where there is none."""
    w = pair_weights(weights)
    length = jnp.square(x).sum(1)
    apart = jnp.maximum(length[:, None] + everywhere(length)[None] - 2 * products(x, x), jnp.zeros((), x.dtype))
    total = w.sum()
    summed = jax.nn.logsumexp(-t * apart, b=jnp.where(total > 0, w, jnp.ones_like(w)))
    return jnp.where(total > 0, summed - jnp.log(jnp.where(total > 0, total, jnp.ones_like(total))), jnp.zeros_like(total))

"""Global orthogonal regularisation: rows of one side are spread as random directions are."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched
from jaxemb.contrastive.graded import pair_weights
from jaxemb.contrastive.softmax import products
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class GlobalOrthogonal(ContrastiveLoss):
    """Cosines of different rows have the mean and the second moment of random directions (Zhang et al., ICCV 2017):

        mean_weight (mean_{i != j} s_ij)^2 + second_weight relu(mean_{i != j} s_ij^2 - 1 / d)

    of the queries and of their positives, the mean or the sum of the two. It pulls no pair together: add it to a loss that does,
    as `WeightedSum` does.
    """

    paper: ClassVar[Paper | None] = Paper("Learning Spread-out Local Feature Descriptors", 2017, "arxiv.org/abs/1708.06320")

    mean_weight: float = 1.0
    second_weight: float = 1.0
    reduce: str = "mean"
    """mean, sum"""

    def __post_init__(self) -> None:
        choices(self, reduce=("mean", "sum"))
        not_negative(self, "mean_weight", "second_weight")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        sides = queries, matched(candidates, positives, len(queries))
        moments = [_moments(x, weights) for x in sides]
        each = [
            self.mean_weight * jnp.square(a) + self.second_weight * jax.nn.relu(b - 1 / x.shape[1])
            for (a, b), x in zip(moments, sides, strict=True)
        ]
        return Loss((each[0] + each[1]) / (2 if self.reduce == "mean" else 1), weight=weights.sum())


def _moments(x: Float[Array, "b d"], weights: Float[Array, " b"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mean, mean square) of the cosines of different rows; 0 where there are none."""
    s = products(unit(x), unit(x))
    w = pair_weights(weights)
    total = jnp.where(w.sum() > 0, w.sum(), jnp.ones((), s.dtype))
    return (w * s).sum() / total, (w * jnp.square(s)).sum() / total

"""VICReg's loss: the rows of a pair agree, features vary, and no two features say the same."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched, weighted
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class VICRegLoss(ContrastiveLoss):
    """Variance-invariance-covariance regularisation of the pairs x, y (n k) (Bardes et al., ICLR 2022).

        invariance  mean_ij (x_ij - y_ij)^2
        variance    mean of the two sides of mean_j relu(1 - sqrt(var_j + 1e-4)), var over the batch, divisor n - 1
        covariance  sum of the two sides of (1/k) sum_{i != j} C_ij^2, C the covariance over the batch, divisor n - 1
        loss        invariance_weight invariance + variance_weight variance + covariance_weight covariance

    Means and sums as in the released code (from memory): the paper's formulas sum the squares over features and add up the variance
    terms. There are no negatives: `keep`, and candidates that are nobody's positive, change nothing. n is the sum of `weights`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", 2022, "arxiv.org/abs/2105.04906"
    )

    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0

    def __post_init__(self) -> None:
        not_negative(self, "invariance_weight", "variance_weight", "covariance_weight")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        x, y = queries, matched(candidates, positives, len(queries))
        terms = {
            "invariance": weighted(jnp.square(x - y).mean(1), weights),
            "variance": (variance(x, weights) + variance(y, weights)) / 2,
            "covariance": covariance(x, weights) + covariance(y, weights),
        }
        each = self.invariance_weight, self.variance_weight, self.covariance_weight
        value = jnp.stack([w * term for w, term in zip(each, terms.values(), strict=True)]).sum()
        return Loss(value, weight=weights.sum(), logs=terms)


def variance(z: Float[Array, "n k"], weights: Float[Array, " n"]) -> Float[Array, ""]:
    """mean_j relu(1 - standard deviation of feature j); 0 where no row counts."""
    centred, degrees = _centred(z, weights)
    var = (weights[:, None] * jnp.square(centred)).sum(0) / degrees
    return jnp.where(weights.sum() > 0, jax.nn.relu(1 - jnp.sqrt(var + 1e-4)).mean(), 0)


def covariance(z: Float[Array, "n k"], weights: Float[Array, " n"]) -> Float[Array, ""]:
    """(1/k) sum of the squared covariances of different features."""
    centred, degrees = _centred(z, weights)
    c = centred.T @ (weights[:, None] * centred) / degrees
    return (jnp.square(c).sum() - jnp.square(jnp.diagonal(c)).sum()) / z.shape[1]


def _centred(z: Float[Array, "n k"], weights: Float[Array, " n"]) -> tuple[Float[Array, "n k"], Float[Array, ""]]:
    """(rows minus their mean, n - 1, or 1 where that is less)."""
    total = weights.sum()
    mean = (weights[:, None] * z).sum(0, keepdims=True) / jnp.where(total > 0, total, 1)
    return z - mean, jnp.maximum(total - 1, 1)

"""VICReg: views agree, features vary, and no two features say the same."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.layers.projector import Projector
from jaxemb.objectives.two_views import SMALL, _TwoViews, each_view, refuse_negative
from jaxemb.types import Batch, Loss, Now, Paper


class VICReg(_TwoViews):
    """Variance-invariance-covariance regularisation of two views x, y (n k) after the projector (Bardes et al., ICLR 2022).

        invariance  mean_ij (x_ij - y_ij)^2
        variance    mean of the two views of mean_j relu(1 - sqrt(var_j + 1e-4)), var over the batch, divisor n - 1
        covariance  sum of the two views of (1/k) sum_{i != j} C_ij^2, C the covariance over the batch, divisor n - 1
        loss        invariance_weight invariance + variance_weight variance + covariance_weight covariance

    Means and sums as in the released code (from memory): the paper's formulas sum the squares over features and add up the variance
    terms. Views here have no blur, hue or solarisation, see `Views`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", 2022, "arxiv.org/abs/2105.04906"
    )
    tiny: ClassVar[dict] = {"projector": SMALL}

    projector: Projector = field(default_factory=lambda: Projector((8192, 8192, 8192)))
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_negative(self, ("invariance_weight", "variance_weight", "covariance_weight"))

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        z = each_view(self.projector, self.embed(batch, train=True))
        terms = {
            "invariance": jnp.square(z[:, 0] - z[:, 1]).mean(),
            "variance": (variance(z[:, 0]) + variance(z[:, 1])) / 2,
            "covariance": covariance(z[:, 0]) + covariance(z[:, 1]),
        }
        weights = self.invariance_weight, self.variance_weight, self.covariance_weight
        value = jnp.stack([w * term for w, term in zip(weights, terms.values(), strict=True)]).sum()
        return Loss(value, logs=terms, views={"projections": z})


def variance(z: Float[Array, "n k"]) -> Float[Array, ""]:
    """mean_j relu(1 - standard deviation of feature j)."""
    centred = z - z.mean(0, keepdims=True)
    var = jnp.square(centred).sum(0) / max(len(z) - 1, 1)
    return jax.nn.relu(1 - jnp.sqrt(var + 1e-4)).mean()


def covariance(z: Float[Array, "n k"]) -> Float[Array, ""]:
    """(1/k) sum of the squared covariances of different features."""
    centred = z - z.mean(0, keepdims=True)
    c = centred.T @ centred / max(len(z) - 1, 1)
    return (jnp.square(c).sum() - jnp.square(jnp.diagonal(c)).sum()) / z.shape[1]

"""HiPrBERT: how alike two terms are made follows from how far apart they stand in a hierarchy."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, above_zero, choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, matched, weighted
from jaxemb.contrastive.graded import scores_of
from jaxemb.contrastive.softmax import log_sum
from jaxemb.ops.rows import by_rows, everywhere
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class HiPrBERT(ContrastiveLoss):
    """Pairs of terms at a distance in a tree, whose scores are the weights w of these distances (Cai et al. 2023), c the cosine:

        weighted   loss_i = w log(1 + exp(alpha (base - c_i))) / alpha + (1 - w) log(1 + exp(beta (c_i - base))) / beta
        clogit     mean of log a and log b, summed over the levels i < j that both have pairs in the batch, s = (c + 1) / 2:
                   a = e^(-alpha s_near) / (e^(-alpha s_near) + sum_far e^(-alpha s_far)) of every pair of level i,
                   b = e^(alpha s_far) / (e^(alpha s_far) + sum_near e^(alpha s_near)) of every pair of level j

    weighted: with alpha = beta the least is at c = base + log(w / (1 - w)) / alpha. clogit, the literal form of the code: a and b
    are probabilities of the wrong order, and their logarithms, which are minimised, are below 0 and have no bound. `levels`: the
    weights by distance 0, 1, ...; for clogit a pair is of the level whose weight is nearest to its score.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Hierarchical Pretraining for Biomedical Term Embeddings", 2023, "arxiv.org/abs/2307.00266"
    )
    needs: ClassVar[tuple[str, ...]] = ("scores",)
    alone: ClassVar[bool] = True

    form: str = "weighted"
    """weighted, clogit"""
    alpha: float = 2.0
    beta: float = 2.0
    base: float = 0.5
    levels: tuple[float, ...] = (1.0, 0.81, 0.6561, 0.0)

    def __post_init__(self) -> None:
        choices(self, form=("weighted", "clogit"))
        above_zero(self, "alpha", "beta")
        falling = all(a > b for a, b in zip(self.levels, self.levels[1:], strict=False))
        if len(self.levels) < 2 or not falling or not 0 <= self.levels[-1] <= self.levels[0] <= 1:
            raise ConfigError(f"HiPrBERT.levels={self.levels!r}: two or more falling weights of 1 to 0, the first of distance 0")

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        c = (unit(queries) * unit(matched(candidates, positives, len(queries)))).sum(1)
        w = scores_of(self, known, weights, 0.0, 1.0)
        if self.form == "clogit":
            value = self._clogit((c + 1) / 2, w, weights)
            return Loss(value + jnp.where(jnp.isnan(w).any(), jnp.nan, jnp.zeros_like(value)), weight=weights.sum())
        together = jax.nn.softplus(self.alpha * (self.base - c)) / self.alpha
        apart = jax.nn.softplus(self.beta * (c - self.base)) / self.beta
        return Loss(weighted(w * together + (1 - w) * apart, weights), weight=weights.sum())

    def _clogit(self, s: Float[Array, " b"], w: Float[Array, " b"], weights: Float[Array, " b"]) -> Float[Array, ""]:
        level = jnp.abs(w[:, None] - jnp.asarray(self.levels, w.dtype)[None]).argmin(1)
        at = [(level == i) & (weights > 0) for i in range(len(self.levels))]
        total = jnp.zeros((), s.dtype)
        for i, near in enumerate(at):
            for far in at[i + 1 :]:
                logs = jnp.where(near, _wrong(-self.alpha * s, far), _wrong(self.alpha * s, near))
                both = near.any() & far.any()
                mean = weighted(logs, jnp.where((near | far) & both, weights, jnp.zeros_like(weights)))
                total = total + mean
        return total


def _wrong(x: Float[Array, " b"], others: Bool[Array, " b"]) -> Float[Array, " b"]:
    """log(e^x_i / (e^x_i + sum over the others of e^x_j)) of every i."""
    against = [by_rows(jnp.broadcast_to(everywhere(y)[None], (len(x), len(x)))) for y in (x, others)]
    return x - log_sum((x[:, None], jnp.ones((len(x), 1), bool)), (against[0], against[1]))

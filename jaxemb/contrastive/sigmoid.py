"""The sigmoid loss: each pair of a query and a candidate is judged by itself, match or none."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, weighted
from jaxemb.contrastive.scale import check_scale, factor
from jaxemb.contrastive.softmax import SIMILARITIES, alike, hot, nearest, picked, places_of, products
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class Sigmoid(ContrastiveLoss):
    """Pairwise sigmoid loss of language and image (Zhai et al., ICCV 2023), SigLIP:

        loss_i = - sum_j log sigmoid(z_ij (t s(q_i, c_j) + bias)),   z_ij = 1 where c_j is a positive of query i, else -1

    t = exp(log_scale) and the bias are learned, from 1 / temperature and `bias` on. `known.also` says which candidates are
    positives as well; `keep` leaves negatives out. There is no denominator, so a row needs nothing of the others.
    """

    paper: ClassVar[Paper | None] = Paper("Sigmoid Loss for Language Image Pre-Training", 2023, "arxiv.org/abs/2303.15343")
    alone: ClassVar[bool] = True

    temperature: float = 0.1
    """1 / t at the start."""
    bias: float = -10.0
    """At the start: nearly all pairs are no match."""
    similarity: str = "cosine"
    """cosine, dot"""
    most_scale: float = 1000.0
    """The most that t can be."""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        choices(self, similarity=SIMILARITIES)
        check_scale(self, self.temperature, self.most_scale)

    def learned(self) -> dict[str, float]:
        return {"log_scale": -math.log(self.temperature), "bias": self.bias}

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
        q, c = alike(self.similarity, queries, candidates)
        scale, bias = factor(known.learned["log_scale"], self.most_scale, q.dtype), jnp.asarray(known.learned["bias"], q.dtype)
        first = hot(places_of(positives, b), m)
        match = first if known.also is None else first | known.also
        logits = scale * products(q, c) + bias
        each = jax.nn.softplus(jnp.where(match, -logits, logits))
        nll = jnp.where(keep | match, each, jnp.zeros_like(each)).sum(1)
        right = nearest(picked(logits, first), (logits, keep & ~match))
        logs = {"accuracy": weighted(right, weights), "scale": scale, "bias": bias}
        return Loss(weighted(nll, weights), weight=weights.sum(), logs=jax.lax.stop_gradient(logs))

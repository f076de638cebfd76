"""InfoNCE: name the positive among all candidates."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, matched, weighted
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class InfoNCE(ContrastiveLoss):
    """Cross-entropy of the positive among all candidates (van den Oord et al. 2018).

        loss_i = -log  exp(s(q_i, c_p) / temperature) / sum_j exp(s(q_i, c_j) / temperature),   p the positive of query i

    s is the cosine or the dot product; the sum is over the positive and all negatives that `keep` allows. `symmetric`: the mean of
    this and of the positive's search for its query among all queries (Radford et al. 2021, CLIP). `accuracy`: how often the
    positive is the nearest. A bound on the mutual information: I >= log m - loss.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Representation Learning with Contrastive Predictive Coding", 2018, "arxiv.org/abs/1807.03748"
    )

    temperature: float = 0.05
    symmetric: bool = False
    similarity: str = "cosine"
    """cosine, dot"""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        choices(self, similarity=("cosine", "dot"))

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        b = len(queries)
        if self.similarity == "cosine":
            queries, candidates = unit(queries), unit(candidates)
        logits = queries @ candidates.T / self.temperature
        places = jnp.arange(b) if positives is None else positives
        nll, right = search(logits, places, keep)
        if self.symmetric:
            back, _ = search(matched(logits, positives, b, axis=1).T, jnp.arange(b), matched(keep, positives, b, axis=1))
            nll = (nll + back) / 2
        return Loss(weighted(nll, weights), weight=weights.sum(), logs={"accuracy": weighted(right, weights)})


def search(
    logits: Float[Array, "b m"], positives: Int[Array, " b"], keep: Bool[Array, "b m"]
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """(-log of the positive's probability, 1 where it has the largest logit) in each row."""
    own = positives[:, None] == jnp.arange(logits.shape[1])[None]
    logits = jnp.where(keep | own, logits, -jnp.inf)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), positives[:, None], axis=1)[:, 0]
    return -log_p, (logits.argmax(-1) == positives).astype(logits.dtype)

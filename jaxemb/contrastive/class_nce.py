"""Cross-entropy of the positive among rows of other classes: for data whose rows share classes."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, weighted
from jaxemb.contrastive.softmax import hot, log_sum, nearest, other_pairs, picked, places_of, products
from jaxemb.ops.rows import everywhere
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class ClassNCE(ContrastiveLoss):
    """QZhou-Embedding's loss of classified texts (Yu et al. 2025), s the cosine:

        loss_i = log Z_i - s(q_i, p_i) / temperature,   Z_i sums exp(s / temperature) of q_i with its positive,
        which is of its class, and with what is of another: other queries, and hard negatives, its own as those of others

    Positives of other queries are in no sum. In the report a query's own hard negatives are taken to be of another class; here they
    are left out where they are not. A hard negative of an unknown class (-1) is a negative of all. `accuracy`: how often the
    positive is strictly the nearest of those hard negatives.
    """

    paper: ClassVar[Paper | None] = Paper("QZhou-Embedding Technical Report", 2025, "arxiv.org/abs/2508.21632")
    needs: ClassVar[tuple[str, ...]] = ("labels", "candidate_labels")

    temperature: float = 0.02

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)

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
        q, c = unit(queries), unit(candidates)
        labels, of_candidates = jnp.asarray(known.labels), jnp.asarray(known.candidate_labels)
        positive = hot(places_of(positives, b), m)
        of_candidates = everywhere(of_candidates)[None]
        other = (labels[:, None] != of_candidates) | (of_candidates < 0)
        hard = keep & ~everywhere(positive.any(0))[None] & other
        pairs = other_pairs(positives, weights, keep) & (labels[:, None] != everywhere(labels)[None])
        logits = products(q, c) / self.temperature
        logit = picked(logits, positive)
        log_z = log_sum((logits, hard | positive), (products(q, q) / self.temperature, pairs))
        accuracy = weighted(nearest(logit, (logits, hard)), weights)
        return Loss(weighted(log_z - logit, weights), weight=weights.sum(), logs={"accuracy": accuracy})

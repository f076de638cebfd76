"""NT-Xent, SimCLR's loss: find the other row of a pair among all rows of both sides."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, matched, weighted
from jaxemb.contrastive.softmax import hot, log_sum, nearest, other_pairs, picked, places_of, products
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class NTXent(ContrastiveLoss):
    """Normalised temperature-scaled cross-entropy (Chen et al., ICML 2020), over the 2b rows r of all pairs:

        loss = mean over r of  -log  exp(cos(z_r, z_r') / temperature) / sum_{s != r} exp(cos(z_r, z_s) / temperature)

    r' is the other row of the pair. Unlike InfoNCE, queries are negatives of queries and candidates of candidates too; candidates
    that are nobody's positive are negatives of all. `accuracy`: how often r' is the nearest.
    """

    paper: ClassVar[Paper | None] = Paper(
        "A Simple Framework for Contrastive Learning of Visual Representations", 2020, "arxiv.org/abs/2002.05709"
    )

    temperature: float = 0.1

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
        p, positive = matched(c, positives, b), hot(places_of(positives, b), m)
        pairs, others = other_pairs(positives, weights, keep), keep & ~positive
        of_query = [(products(q, q) / self.temperature, pairs), (products(q, c) / self.temperature, others)]
        of_other = [(products(p, q) / self.temperature, pairs), (products(p, c) / self.temperature, others)]
        logit = picked(of_query[1][0], positive)
        found = logit[:, None], jnp.ones((b, 1), bool)
        log_z = log_sum(found, *of_query) + log_sum(found, *of_other)
        right = (nearest(logit, *of_query) + nearest(logit, *of_other)) / 2
        return Loss(weighted(log_z / 2 - logit, weights), weight=weights.sum(), logs={"accuracy": weighted(right, weights)})

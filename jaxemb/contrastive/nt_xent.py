"""NT-Xent, SimCLR's loss: find the other row of a pair among all rows of both sides."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, matched, weighted
from jaxemb.contrastive.info_nce import search
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
        b, m = len(queries), len(candidates)
        q, c = unit(queries), unit(candidates)
        places = jnp.arange(b) if positives is None else positives
        rows, every = jnp.concatenate([q, matched(c, positives, b)]), jnp.concatenate([q, c])
        pairs = jnp.concatenate([matched(keep, positives, b, axis=1), keep], axis=1)  # of one pair against all rows
        itself = jnp.concatenate([jnp.arange(b), b + places])[:, None] == jnp.arange(b + m)[None]
        other = jnp.concatenate([b + places, jnp.arange(b)])
        nll, right = search(rows @ every.T / self.temperature, other, jnp.tile(pairs, (2, 1)) & ~itself)
        both = jnp.tile(weights, 2)
        return Loss(weighted(nll, both), weight=weights.sum(), logs={"accuracy": weighted(right, both)})

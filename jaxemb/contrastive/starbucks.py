"""Starbucks: a short list of fixed pairs of a layer and a width, all trained in every step."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, above_zero, choices, not_negative
from jaxemb.contrastive.base import Known, weighted
from jaxemb.contrastive.softmax import SIMILARITIES, alike, hot, places_of, products
from jaxemb.contrastive.wrapper import _Wrapper, alignment, candidate_weights, divergence, refuse_wider
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class Starbucks(_Wrapper):
    """Any loss f at fixed sizes (Starbucks, Zhuang et al. 2024), X_l the pooled rows of layer l:

        f(X_L) + sum over sizes (l, k) of  f(X_l[:k]) + kl_weight KL_lk

    `align`: what the distributions of KL(full || smaller) are over. "documents", its form for retrieval: the candidates, by
    softmax(s / kl_temperature) of the full and of the small rows, the full ones constant, the mean over queries; with
    InfoNCE(similarity="dot") of the same temperature it is the paper's loss, with a weight of 1. "coordinates", its form for graded
    similarity: those of the rows X_L[:k] and X_l[:k] as they are, the mean over queries and candidates, with gradient into both;
    the paper's weight is 0.3, its T 1. Rows are cut as they are: a loss of cosines makes them unit vectors. Logs are those of X_L.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Starbucks: Improved Training for 2D Matryoshka Embeddings", 2024, "arxiv.org/abs/2410.13230"
    )

    sizes: tuple[tuple[int, int], ...] = ((2, 32), (4, 64))
    """(layer, width) of the smaller ones; the last layer (-1) in full width comes by itself. Layer 0 is what enters the first."""
    align: str = "documents"
    """documents, coordinates"""
    kl_weight: float = 1.0
    kl_temperature: float = 1.0
    similarity: str = "dot"
    """Of the documents' scores: cosine, dot."""

    def __post_init__(self) -> None:
        self._refuse_nested_layers()
        choices(self, align=("documents", "coordinates"), similarity=SIMILARITIES)
        not_negative(self, "kl_weight")
        above_zero(self, "kl_temperature")
        if not self.sizes or len(set(self.sizes)) < len(self.sizes) or any(layer < -1 or k < 1 for layer, k in self.sizes):
            raise ConfigError(f"Starbucks.sizes={self.sizes!r}: pairs of a layer from -1 on and a width of at least 1, each once")

    def layers(self) -> tuple[int, ...]:
        return (*sorted({layer for layer, _ in self.sizes} - {-1}), -1)

    def compare(
        self,
        queries: Float[Array, "l b d"],
        candidates: Float[Array, "l m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        refuse_wider(self, "sizes", tuple(k for _, k in self.sizes), queries.shape[-1])
        full = self.loss.compare(queries[-1], candidates[-1], positives, weights, keep, known)
        of_candidates = candidate_weights(positives, weights, keep)
        allowed = keep | hot(places_of(positives, len(keep)), keep.shape[1])
        value, kl = full.value, jnp.zeros_like(full.value)
        for layer, k in self.sizes:
            i = self.layers().index(layer)
            q, c = queries[i][:, :k], candidates[i][:, :k]
            value = value + self.loss.compare(q, c, positives, weights, keep, known).value
            if self.align == "coordinates":
                whole = queries[-1][:, :k], candidates[-1][:, :k]
                kl = kl + alignment(whole, (q, c), (weights, of_candidates), self.kl_temperature)
            else:
                teacher = jax.lax.stop_gradient(self._scores(queries[-1], candidates[-1]))
                kl = kl + weighted(divergence(teacher, self._scores(q, c), allowed), weights)
        return full._replace(value=value + self.kl_weight * kl, logs={**full.logs, "kl": kl})

    def _scores(self, queries: Float[Array, "b k"], candidates: Float[Array, "m k"]) -> Float[Array, "b m"]:
        q, c = alike(self.similarity, queries, candidates)
        return products(q, c) / self.kl_temperature

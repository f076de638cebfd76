"""InfoNCE: name the positive among all candidates."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, matched, weighted
from jaxemb.contrastive.scale import check_scale, factor
from jaxemb.contrastive.softmax import (
    SIMILARITIES,
    alike,
    hot,
    log_sum,
    nearest,
    other_pairs,
    own_negatives,
    picked,
    places_of,
    products,
)
from jaxemb.types import Loss, Paper

DIRECTIONS = ("q2d", "q2q", "d2q", "d2d")


@dataclasses.dataclass(frozen=True)
class InfoNCE(ContrastiveLoss):
    """Cross-entropy of the positive among all candidates (van den Oord et al. 2018).

        loss_i = log Z_i - s(q_i, p_i) / temperature,    Z_i = sum over the directions of sum_j exp(s / temperature)

    s is the cosine or the dot product, p_i the positive of query i. `directions`, what is summed (sentence-transformers' names):
    q2d: q_i with all candidates c_j · q2q: q_i with the other queries · d2q: p_i with all queries, its own included · d2d: p_i with
    all candidates but itself and the own hard negatives of query i. `partition`: "joint", one Z (all four directions: GTE, Li et
    al. 2023), or "each", one for each direction that holds the pair, and the mean of their losses (q2d and d2q: CLIP's symmetric
    loss, Radford et al. 2021). `accuracy`: how often the positive is strictly the nearest of the candidates. A bound on the mutual
    information: I >= log m - loss. Candidates that `keep` leaves out are in no sum.

    Rows with a vector a token, such as `LateInteraction` pools: s is MaxSim, sum_i max_j q_i . c_j over the tokens of a row and of
    another one (ColBERT, which has temperature 1), in d2q too over those of the query. It grows with the tokens of the row.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Representation Learning with Contrastive Predictive Coding", 2018, "arxiv.org/abs/1807.03748"
    )

    tokens: ClassVar[bool] = True

    temperature: float = 0.05
    directions: tuple[str, ...] = ("q2d",)
    partition: str = "joint"
    """joint, each"""
    negatives: str = "all"
    """all: every candidate; own_and_batch: all but the hard negatives of other queries; own: the query's own hard negatives alone,
    as for data whose rows share classes (NV-Embed's second stage). The last two need `known.own`."""
    hardness: str | None = None
    """Whose logits of q2d are raised by strength s, which carries no gradient: "in_batch" (all candidates but the query's own
    positive and hard negatives), "hard" (its own hard negatives), "all" (both); None: nobody's."""
    strength: float = 0.0
    hardest: int | None = None
    """Of the negatives of q2d, the query's highest-scoring ones alone (BEBR: 5); None: all. Of equal scores the first."""
    similarity: str = "cosine"
    """cosine, dot"""
    learn_scale: bool = False
    """Whether 1 / temperature is learned, from the one given on, as exp(log_scale) (CLIP)."""
    most_scale: float = 100.0
    """The most that a learned scale can be."""

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        choices(
            self,
            similarity=SIMILARITIES,
            partition=("joint", "each"),
            negatives=("all", "own_and_batch", "own"),
            hardness=(None, "in_batch", "hard", "all"),
        )
        self._check_directions()
        if not self.strength >= 0 or (self.hardness is None) != (self.strength == 0):
            raise ConfigError(
                f"InfoNCE: strength must be above 0 with a hardness and 0 without, is {self.strength} with {self.hardness!r}"
            )
        if self.hardest is not None and (self.hardest < 1 or self.directions != ("q2d",)):
            raise ConfigError(
                f"InfoNCE: hardest={self.hardest} with directions={self.directions!r}; valid: 1 or more, of q2d alone"
            )
        check_scale(self, self.temperature if self.learn_scale else math.inf, self.most_scale)

    def _check_directions(self) -> None:
        given = self.directions
        if not given or len(set(given)) < len(given) or not set(given) <= set(DIRECTIONS):
            raise ConfigError(f"InfoNCE.directions={given!r}: some of {', '.join(DIRECTIONS)}, each once")
        if self.partition == "each" and (alone := set(given) - {"q2d", "d2q"}):
            raise ConfigError(
                f"InfoNCE: partition='each' takes q2d and d2q, which hold the pair, not {', '.join(sorted(alone))}; use 'joint'"
            )
        if self.negatives == "own" and not set(given) <= {"q2d", "q2q"}:
            raise ConfigError(f"InfoNCE: negatives='own' compares queries with their own candidates, q2d and q2q, not {given!r}")

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("own",) if self.negatives != "all" or self.hardness == "hard" else ()

    def learned(self) -> dict[str, float]:
        return {"log_scale": -math.log(self.temperature)} if self.learn_scale else {}

    def compare(
        self,
        queries: Float[Array, "b *t d"],
        candidates: Float[Array, "m *n d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        b, m = keep.shape
        if queries.ndim == 3 and "d2d" in self.directions:
            raise ConfigError(
                f"InfoNCE: directions={self.directions!r} with a vector a token: MaxSim is of a query and a document; "
                "valid: q2d, q2q, d2q"
            )
        q, c = alike(self.similarity, queries, candidates)
        scale = self._scale(known, q)
        positive = hot(places_of(positives, b), m)
        own = jnp.zeros((b, m), bool) if known.own is None else own_negatives(known.own, m)
        others = self._negatives(positive, own, keep)
        similar = products(q, c)
        raised = scale * similar + self._harder(similar, positive, own)
        of_queries = raised, others | positive
        if self.hardest is not None:
            of_queries = _hardest(raised, positive, others, self.hardest)
        blocks: dict[str, tuple[Array, Array]] = {"q2d": of_queries}
        if self.directions != ("q2d",):
            p, pairs = matched(c, positives, b), other_pairs(positives, weights, keep)
            blocks["q2q"] = scale * products(q, q), pairs
            # MaxSim sums over the tokens of the query, whichever side asks; of vectors the product needs no turning.
            blocks["d2q"] = scale * (products(q, p).T if q.ndim == 3 else products(p, q)), pairs | jnp.eye(b, dtype=bool)
            blocks["d2d"] = scale * products(p, c), others & ~own
        summed = [blocks[direction] for direction in self.directions]
        each = [log_sum(*summed)] if self.partition == "joint" else [log_sum(block) for block in summed]
        logit = scale * picked(similar, positive)
        logs = {"accuracy": weighted(nearest(logit, (scale * similar, others)), weights)}
        if self.learn_scale:
            logs["scale"] = jax.lax.stop_gradient(scale)
        return Loss(weighted(sum(each) / len(each) - logit, weights), weight=weights.sum(), logs=logs)

    def _scale(self, known: Known, rows: Array) -> Array:
        if not self.learn_scale:
            return jnp.asarray(1 / self.temperature, rows.dtype)
        return factor(known.learned["log_scale"], self.most_scale, rows.dtype)

    def _negatives(self, positive: Bool[Array, "b m"], own: Bool[Array, "b m"], keep: Bool[Array, "b m"]) -> Bool[Array, "b m"]:
        """Which candidates are negatives of each query."""
        if self.negatives == "own":
            keep = keep & own
        elif self.negatives == "own_and_batch":
            of_others = own.any(0) & ~positive.any(0)  # a hard negative of one query can be the positive of another
            keep = keep & (own | ~of_others[None])
        return keep & ~positive

    def _harder(self, similar: Float[Array, "b m"], positive: Bool[Array, "b m"], own: Bool[Array, "b m"]) -> Float[Array, "b m"]:
        if self.hardness is None:
            return jnp.zeros_like(similar)
        raised = {"in_batch": ~positive & ~own, "hard": own, "all": ~positive}[self.hardness]
        return self.strength * jnp.where(raised, jax.lax.stop_gradient(similar), jnp.zeros_like(similar))


def _hardest(
    logits: Float[Array, "b m"], positive: Bool[Array, "b m"], others: Bool[Array, "b m"], count: int
) -> tuple[Float[Array, "b _"], Bool[Array, "b _"]]:
    """(logits, allowed) of the positive and of the `count` highest others."""
    most = jax.lax.top_k(jnp.where(others, logits, -jnp.inf), min(count, logits.shape[1]))[0]
    return jnp.concatenate([picked(logits, positive)[:, None], most], axis=1), jnp.pad(
        jnp.isfinite(most), ((0, 0), (1, 0)), constant_values=True
    )

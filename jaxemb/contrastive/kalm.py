"""KaLM-Embedding-V2's loss: harder pairs weigh more, and hard negatives are mixed into harder ones."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known, check_temperature, weighted
from jaxemb.contrastive.softmax import hot, log_sum, nearest, picked, places_of, products
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class KaLM(ContrastiveLoss):
    """InfoNCE with focal weights and mixed negatives (KaLM-Embedding-V2, Zhao et al. 2025), s the cosine:

        loss_i = (1 - P_i)^gamma (-log P_i),    P_i = exp(s(q_i, p_i) / temperature) / Z_i
        Z_i sums the candidates, those mixed for query i included

    Mixed are hard negatives of the same query, as unit vectors, and the mixture is made one again: `mix_pair`, r n_a + (1 - r) n_b
    of two that are drawn, r from Beta(2, 2) · `mix_list`, sum_k softmax_k(s(q_i, n_k)) n_k of all. The gradient flows into the n,
    not into their weights; a query with fewer than two hard negatives has no mixture. From summaries: the paper leaves open whether
    the weights have a gradient (`stop_gradient`), how many mixtures there are and whose they are; here they are one of each kind,
    of their own query alone. `accuracy`: how often the positive is strictly the nearest candidate.
    """

    paper: ClassVar[Paper | None] = Paper(
        "KaLM-Embedding-V2: Superior Training Techniques and Data Inspire A Versatile Embedding Model",
        2025,
        "arxiv.org/abs/2506.20923",
    )

    temperature: float = 0.01
    gamma: float = 0.5
    stop_gradient: bool = False
    """Whether the weights (1 - P)^gamma are constants."""
    mix_pair: bool = True
    mix_list: bool = True

    def __post_init__(self) -> None:
        check_temperature(self, self.temperature)
        not_negative(self, "gamma")

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (("own",) if self.mix_pair or self.mix_list else ()) + (("key",) if self.mix_pair else ())

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
        positive = hot(places_of(positives, b), m)
        logits, others = products(q, c) / self.temperature, keep & ~positive
        blocks, logit = [(logits, others | positive)], picked(logits, positive)
        if (self.mix_pair or self.mix_list) and jnp.asarray(known.own).shape[1] > 1:
            blocks.append(self._mixed(q, c, others, known))
        nll = log_sum(*blocks) - logit
        accuracy = weighted(nearest(logit, (logits, others)), weights)
        return Loss(weighted(self._weights(nll) * nll, weights), weight=weights.sum(), logs={"accuracy": accuracy})

    def _weights(self, nll: Float[Array, " b"]) -> Float[Array, " b"]:
        """(1 - P)^gamma; near P = 1 the difference loses no digits, and is kept off 0, where the power has no slope."""
        w = jnp.maximum(-jnp.expm1(-nll), 1e-12) ** self.gamma
        return jax.lax.stop_gradient(w) if self.stop_gradient else w

    def _mixed(
        self, q: Float[Array, "b d"], c: Float[Array, "m d"], others: Bool[Array, "b m"], known: Known
    ) -> tuple[Float[Array, "b x"], Bool[Array, "b x"]]:
        """(logits, whether there is one) of the mixtures."""
        own = jnp.asarray(known.own)
        # A sum over each row and no look-up in it: rows stay on their devices.
        there = jnp.stack([(hot(own[:, j], c.shape[0]) & others).any(1) for j in range(own.shape[1])], axis=1)
        n = jnp.take(c, jnp.maximum(own, 0), axis=0)
        shares = []
        if self.mix_pair:
            shares.append(pair_shares(jnp.asarray(known.key), there).astype(q.dtype))
        if self.mix_list:
            similar = jnp.where(there, jnp.einsum("bd,bkd->bk", q, n), -jnp.inf)
            shares.append(jax.nn.softmax(jnp.where(there.any(1, keepdims=True), similar, jnp.zeros_like(similar))))
        mixed = unit(jnp.einsum("xbk,bkd->bxd", jax.lax.stop_gradient(jnp.stack(shares)), n))
        enough = jnp.broadcast_to(there.sum(1, keepdims=True) > 1, mixed.shape[:2])
        return jnp.einsum("bd,bxd->bx", q, mixed) / self.temperature, enough


def pair_shares(key: Array, there: Bool[Array, "b k"]) -> Float[Array, "b k"]:
    """r and 1 - r at two drawn places of each row that are there; r is from Beta(2, 2), as the median of three uniforms is."""
    of_places, of_shares = jax.random.split(key)
    drawn = jnp.where(there, jax.random.uniform(of_places, there.shape), -1)
    rank = (drawn[:, None] > drawn[:, :, None]).sum(2)  # how many are above
    r = jnp.sort(jax.random.uniform(of_shares, (len(there), 3)), axis=1)[:, 1:2]
    return jnp.where(rank == 0, r, jnp.where(rank == 1, 1 - r, jnp.zeros_like(r)))

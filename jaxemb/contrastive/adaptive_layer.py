"""Adaptive layers: what a model says after some of its layers is an embedding too."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import above_zero, choices, not_negative
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.wrapper import _Wrapper, alignment, candidate_weights, refuse_per_step, refuse_shallow
from jaxemb.types import Loss, Paper

WEIGHTINGS = {"uniform": lambda i: 1.0, "log": lambda i: 1 / (1 + math.log1p(i)), "linear": lambda i: 1 / (1 + i)}


@dataclasses.dataclass(frozen=True)
class AdaptiveLayer(_Wrapper):
    """Any loss at several layers, those below drawn to the last one (Li et al. 2024, as in sentence-transformers):

        last_weight loss(X_L)  +  mean over layers l of prior_weight g(l) loss(X_l)
          +  kl_weight T sum over layers l of KL(softmax(X_L / T) || softmax(X_l / T))

    X_l are the pooled rows of layer l, the softmax is over their coordinates as they are, with their lengths, and its mean over
    queries and candidates; the last layer is a constant there. g is 1, 1 / (1 + log(1 + l)) or 1 / (1 + l).
    `AdaptiveLayer(Matryoshka(...))` is sentence-transformers' Matryoshka2dLoss. Logs are those of the last layer.
    """

    paper: ClassVar[Paper | None] = Paper("2D Matryoshka Sentence Embeddings", 2024, "arxiv.org/abs/2402.14776")

    shallow: tuple[int, ...] = (2, 4)
    """The layers beside the last; 0 is what enters the first one."""
    per_step: int | None = None
    """So many of them in a step, drawn by `known.key`; None: all."""
    last_weight: float = 1.0
    prior_weight: float = 1.0
    weighting: str = "uniform"
    """g: uniform, log, linear"""
    kl_weight: float = 1.0
    kl_temperature: float = 0.3
    """T"""

    def __post_init__(self) -> None:
        self._refuse_nested_layers()
        refuse_shallow(self, "shallow", self.shallow)
        choices(self, weighting=WEIGHTINGS)
        not_negative(self, "last_weight", "prior_weight", "kl_weight")
        above_zero(self, "kl_temperature")
        refuse_per_step(self, "shallow")

    @property
    def draws(self) -> bool:
        return self.per_step is not None and self.per_step < len(self.shallow)

    def layers(self) -> tuple[int, ...]:
        return (*self.shallow, -1)

    def compare(
        self,
        queries: Float[Array, "l b d"],
        candidates: Float[Array, "l m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        chosen = list(range(len(self.shallow)))
        if self.draws:
            chosen = list(jax.random.permutation(jnp.asarray(known.key), len(self.shallow))[: self.per_step])

        def at(layer: int | Array, number: int) -> Loss:
            # What a loss of a layer draws is its own, as that of another step.
            key = None if known.key is None else jax.random.fold_in(known.key, number + 1)
            return self.loss.compare(queries[layer], candidates[layer], positives, weights, keep, known._replace(key=key))

        last = at(-1, 0)
        factors = jnp.asarray([self.prior_weight * WEIGHTINGS[self.weighting](i) for i in self.shallow], queries.dtype)
        prior = jnp.stack([factors[i] * at(i, n + 1).value for n, i in enumerate(chosen)]).mean()
        teacher = jax.lax.stop_gradient((queries[-1], candidates[-1]))
        each = weights, candidate_weights(positives, weights, keep)
        kl = jnp.stack([alignment(teacher, (queries[i], candidates[i]), each, self.kl_temperature) for i in chosen]).sum()
        value = self.last_weight * last.value + prior + self.kl_weight * self.kl_temperature * kl
        return last._replace(value=value, logs={**last.logs, "kl": kl})

"""2-D Matryoshka in its first form: in each step one layer below the last and one width, beside the full ones."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import above_zero, not_negative
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.wrapper import (
    _Wrapper,
    alignment,
    candidate_weights,
    refuse_dims,
    refuse_shallow,
    refuse_wider,
)
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class Matryoshka2D(_Wrapper):
    """Any loss f at one drawn layer n and one drawn width k (2DMSE, Li et al. 2024, as its code was):

        f(X_L) + f(X_n) / n + f(X_L[:k]) + f(X_n[:k]) / n  +  kl_weight T log(2 + n) KL(softmax(X_L / T) || softmax(X_n / T))

    X_n are the pooled rows of layer n of L, T is 1 there; the softmax is over their coordinates as they are, its mean over queries
    and candidates, and its gradient flows into the last layer too, unless `detach`. Rows are cut as they are: a loss of cosines
    makes them unit vectors. What a step looks at is drawn by `known.key`; with one layer and one width nothing is. All at once, and
    with the last layer a constant, is `AdaptiveLayer(Matryoshka(...))`. Logs are those of X_L.
    """

    paper: ClassVar[Paper | None] = Paper("2D Matryoshka Sentence Embeddings", 2024, "arxiv.org/abs/2402.14776")

    shallow: tuple[int, ...] = (1, 2, 3, 4, 5)
    """The layers beside the last, from 1 on."""
    dims: tuple[int, ...] = (8, 16, 32, 64, 128)
    kl_weight: float = 1.0
    kl_temperature: float = 1.0
    """T"""
    detach: bool = False
    """Whether the last layer is a constant in the KL term."""

    def __post_init__(self) -> None:
        self._refuse_nested_layers()
        refuse_shallow(self, "shallow", self.shallow, least=1)
        refuse_dims(self, "dims", self.dims)
        not_negative(self, "kl_weight")
        above_zero(self, "kl_temperature")

    @property
    def draws(self) -> bool:
        return len(self.shallow) > 1 or len(self.dims) > 1

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
        refuse_wider(self, "dims", self.dims, queries.shape[-1])
        layer, dim = self._drawn(known)
        index = jnp.asarray(self.shallow, queries.dtype)[layer]

        def f(x: Array, c: Array, width: int | None = None) -> Loss:
            return self.loss.compare(x[:, :width], c[:, :width], positives, weights, keep, known)

        def cut(width: int) -> Array:
            last, shallow = (f(queries[i], candidates[i], width).value for i in (-1, layer))
            return last + shallow / index

        full = f(queries[-1], candidates[-1])
        shallow = f(queries[layer], candidates[layer]).value / index
        narrow = jax.lax.switch(dim, [lambda width=width: cut(width) for width in self.dims])
        teacher = queries[-1], candidates[-1]
        teacher = jax.lax.stop_gradient(teacher) if self.detach else teacher
        each = (weights, candidate_weights(positives, weights, keep))
        kl = alignment(teacher, (queries[layer], candidates[layer]), each, self.kl_temperature)
        kl = self.kl_temperature * jnp.log(2 + index) * kl
        return full._replace(value=full.value + shallow + narrow + self.kl_weight * kl, logs={**full.logs, "kl": kl})

    def _drawn(self, known: Known) -> tuple[Array | int, Array | int]:
        """Which of the layers and which of the widths this step looks at."""
        if not self.draws:
            return 0, 0
        of_layer, of_dim = jax.random.split(jnp.asarray(known.key))
        return jax.random.randint(of_layer, (), 0, len(self.shallow)), jax.random.randint(of_dim, (), 0, len(self.dims))

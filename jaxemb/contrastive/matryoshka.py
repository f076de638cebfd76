"""Matryoshka: the first coordinates of an embedding are an embedding too."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, not_negative
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.wrapper import _Wrapper, refuse_dims, refuse_per_step, refuse_wider
from jaxemb.ops.similarity import unit
from jaxemb.types import Loss, Paper


@dataclasses.dataclass(frozen=True)
class Matryoshka(_Wrapper):
    """Any loss of nested sizes (Matryoshka Representation Learning, Kusupati et al., NeurIPS 2022):

        loss = sum over d of w_d loss(unit(q[:d]), unit(c[:d]))

    A sum, no mean: more sizes are a larger loss. Rows are cut and then made unit vectors, whatever the loss does with lengths. Logs
    are those of the largest size.
    """

    paper: ClassVar[Paper | None] = Paper("Matryoshka Representation Learning", 2022, "arxiv.org/abs/2205.13147")

    dims: tuple[int, ...] = (32, 64, 128)
    """None above the width; the full width is a size like the others."""
    weights: tuple[float, ...] | None = None
    """One for each of `dims`; None: all 1."""
    per_step: int | None = None
    """So many of the sizes in a step, drawn by `known.key`; None: all."""

    def __post_init__(self) -> None:
        refuse_dims(self, "dims", self.dims)
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ConfigError(f"Matryoshka.weights={self.weights!r}: one for each of dims={self.dims!r}")
        not_negative(self, "weights")
        refuse_per_step(self, "dims")

    @property
    def draws(self) -> bool:
        return self.per_step is not None and self.per_step < len(self.dims)

    def layers(self) -> tuple[int, ...] | None:
        return self.loss.layers()

    def compare(
        self,
        queries: Float[Array, "*l b d"],
        candidates: Float[Array, "*l m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        refuse_wider(self, "dims", self.dims, queries.shape[-1])

        def at(dim: int) -> Loss:
            return self.loss.compare(unit(queries[..., :dim]), unit(candidates[..., :dim]), positives, weights, keep, known)

        factors = jnp.asarray(self.weights or (1.0,) * len(self.dims), queries.dtype)
        if not self.draws:
            each = [at(dim) for dim in self.dims]
            full = each[self.dims.index(max(self.dims))]
            return full._replace(value=jnp.stack([x.value for x in each]) @ factors)
        chosen = jax.random.permutation(jnp.asarray(known.key), len(self.dims))[: self.per_step]
        branches = [lambda dim=dim: at(dim)._replace(logs={}, views={}) for dim in self.dims]
        found = [jax.lax.switch(i, branches) for i in chosen]
        return found[0]._replace(value=jnp.stack([x.value for x in found]) @ factors[chosen])

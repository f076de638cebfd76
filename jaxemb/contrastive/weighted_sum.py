"""Several losses of the same rows, added up."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError, not_negative
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.types import Loss


@dataclasses.dataclass(frozen=True)
class WeightedSum(ContrastiveLoss):
    """sum_i w_i loss_i: a regulariser beside a loss, or distillation beside InfoNCE (E5).

    It needs what they need. Each is logged by its name; two of one name by their places.
    """

    losses: tuple[ContrastiveLoss, ...] = (InfoNCE(),)
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.losses or len(self.losses) != len(self.weights):
            raise ConfigError(f"WeightedSum: {len(self.losses)} losses have {len(self.weights)} weights; each needs one")
        not_negative(self, "weights")
        if any(loss.layers() is not None for loss in self.losses):
            raise ConfigError("WeightedSum: one of the losses compares several layers; let that one wrap a WeightedSum instead")
        names = [name for loss in self.losses for name in loss.learned()]
        if len(set(names)) < len(names):
            raise ConfigError(f"WeightedSum: two of the losses learn scalars of one name ({', '.join(sorted(names))})")

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(dict.fromkeys(name for loss in self.losses for name in loss.needs))

    @property
    def alone(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(loss.alone for loss in self.losses)

    def tasks(self) -> tuple[str, ...] | None:
        return next((names for loss in self.losses if (names := loss.tasks()) is not None), None)

    def learned(self) -> dict[str, float]:
        return {name: x for loss in self.losses for name, x in loss.learned().items()}

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        rows = queries, candidates, positives, weights, keep, known
        found = [loss.compare(*rows) for loss in self.losses]
        value = jnp.stack([w * x.value for w, x in zip(self.weights, found, strict=True)]).sum()
        names = [type(loss).__name__ for loss in self.losses]
        named = [f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
        return Loss(value, weight=weights.sum(), logs={name: x.value for name, x in zip(named, found, strict=True)})

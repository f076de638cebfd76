"""What losses share that are made of another one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.contrastive.softmax import hot, places_of


@dataclasses.dataclass(frozen=True)
class _Wrapper(ContrastiveLoss):
    """A loss of another loss: it needs what that one needs, and has its learned scalars."""

    loss: ContrastiveLoss = InfoNCE()

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (*self.loss.needs, *(("key",) if self.draws and "key" not in self.loss.needs else ()))

    @property
    def alone(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.loss.alone

    @property
    def draws(self) -> bool:
        """Whether it chooses at random what is compared in a step."""
        return False

    def tasks(self) -> tuple[str, ...] | None:
        return self.loss.tasks()

    def learned(self) -> Mapping[str, float]:
        return self.loss.learned()

    def _refuse_nested_layers(self) -> None:
        if self.loss.layers() is not None:
            name = type(self).__name__
            raise ConfigError(f"{name}.loss: {type(self.loss).__name__} compares layers itself; {name} takes a loss of one layer")


def refuse_dims(owner: ContrastiveLoss, field: str, dims: tuple[int, ...]) -> None:
    """Raises ConfigError unless there are sizes, each once, of at least 1."""
    if not dims or len(set(dims)) < len(dims) or min(dims) < 1:
        raise ConfigError(f"{type(owner).__name__}.{field}={dims!r}: sizes of at least 1, each once")


def refuse_wider(owner: ContrastiveLoss, field: str, dims: tuple[int, ...], width: int) -> None:
    """Raises ConfigError for a size that no embedding here has."""
    if max(dims) > width:
        raise ConfigError(f"{type(owner).__name__}.{field}: {max(dims)} is more than the width of the embeddings, {width}")


def refuse_shallow(owner: ContrastiveLoss, field: str, layers: tuple[int, ...], least: int = 0) -> None:
    """Raises ConfigError unless there are layers below the last, each once, counted from `least`."""
    if not layers or len(set(layers)) < len(layers) or min(layers) < least:
        raise ConfigError(
            f"{type(owner).__name__}.{field}={layers!r}: layers below the last one, each once, from {least} on"
            + (" (0: what enters the first layer)" if not least else "")
        )


def refuse_per_step(owner: Any, field: str) -> None:
    """Raises ConfigError where a step is to look at more of what `field` lists than there is, or at nothing."""
    asked, count = owner.per_step, len(getattr(owner, field))
    if asked is not None and not 1 <= asked <= count:
        raise ConfigError(f"{type(owner).__name__}.per_step={asked}: 1 to {count}, as many as {field} has")


def candidate_weights(
    positives: Int[Array, " b"] | None, weights: Float[Array, " b"], keep: Bool[Array, "b m"]
) -> Float[Array, " m"]:
    """1 for the candidates that some pair that counts looks at, 0 for padding."""
    seen = (keep | hot(places_of(positives, len(keep)), keep.shape[1])) & (weights != 0)[:, None]
    return seen.any(0).astype(weights.dtype)


def alignment(
    teacher: tuple[Float[Array, "b d"], Float[Array, "m d"]],
    student: tuple[Float[Array, "b d"], Float[Array, "m d"]],
    weights: tuple[Float[Array, " b"], Float[Array, " m"]],
    temperature: float,
) -> Float[Array, ""]:
    """KL(softmax(teacher / T) || softmax(student / T)) over coordinates, the mean over queries and candidates."""
    each = [divergence(t / temperature, s / temperature) for t, s in zip(teacher, student, strict=True)]
    total = weights[0].sum() + weights[1].sum()
    summed = (each[0] * weights[0]).sum() + (each[1] * weights[1]).sum()
    return summed / jnp.where(total > 0, total, jnp.ones_like(total))


def divergence(
    teacher: Float[Array, "b k"], student: Float[Array, "b k"], allowed: Bool[Array, "b k"] | None = None
) -> Float[Array, " b"]:
    """KL(softmax(teacher) || softmax(student)) of each row, over what is allowed."""
    if allowed is not None:
        teacher, student = (jnp.where(allowed, x, jnp.finfo(x.dtype).min) for x in (teacher, student))
    log_t, log_s = jax.nn.log_softmax(teacher), jax.nn.log_softmax(student)
    each = jnp.exp(log_t) * (log_t - log_s)
    return (each if allowed is None else jnp.where(allowed, each, jnp.zeros_like(each))).sum(1)

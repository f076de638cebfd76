"""A loss for each task: batches hold one task at a time, and each task is compared in its own way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import Tracer
from jaxtyping import Bool, Float, Int

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import ContrastiveLoss, Known
from jaxemb.contrastive.class_nce import ClassNCE
from jaxemb.contrastive.cosent import CoSENT
from jaxemb.contrastive.info_nce import InfoNCE
from jaxemb.types import Loss, Paper


def qzhou() -> dict[str, ContrastiveLoss]:
    """The three of the report."""
    retrieval = InfoNCE(0.02, ("q2d", "q2q"), negatives="own")
    return {"classification": ClassNCE(), "retrieval": retrieval, "sts": CoSENT(0.02)}


@dataclasses.dataclass(frozen=True)
class ByTask(ContrastiveLoss):
    """The loss of the batch's task (QZhou-Embedding, Yu et al. 2025): one loss for all is at odds with graded and classified data.

        loss = losses[task](queries, candidates)

    Its three are `ClassNCE` for classes, `CoSENT` for graded similarity, and for retrieval `InfoNCE` of own hard negatives and
    other queries. Only the loss of the task is computed; what each of them needs, every batch must hold, of other tasks as a
    filling (`TextPairs` has NaN and -1 where a task has no scores or labels). Task i is the i-th name in the order of the
    alphabet, as the data number them; training refuses names that are not those of the data.
    """

    paper: ClassVar[Paper | None] = Paper("QZhou-Embedding Technical Report", 2025, "arxiv.org/abs/2508.21632")

    losses: Mapping[str, ContrastiveLoss] = dataclasses.field(default_factory=qzhou, hash=False)
    """By the name of the task."""

    def __post_init__(self) -> None:
        if not self.losses:
            raise ConfigError("ByTask.losses: one for each task, and there is none")
        for name, loss in self.losses.items():
            if loss.layers() is not None:
                raise ConfigError(
                    f"ByTask.losses.{name}: {type(loss).__name__} compares layers; wrap the losses of all tasks as one"
                )

    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted(self.losses))

    def _each(self) -> tuple[ContrastiveLoss, ...]:
        return tuple(self.losses[name] for name in self.tasks())

    @property
    def needs(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("task", *dict.fromkeys(name for loss in self._each() for name in loss.needs))

    @property
    def alone(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(loss.alone for loss in self._each())

    def learned(self) -> dict[str, float]:
        return {f"task_{i}_{name}": x for i, loss in enumerate(self._each()) for name, x in loss.learned().items()}

    def compare(
        self,
        queries: Float[Array, "b d"],
        candidates: Float[Array, "m d"],
        positives: Int[Array, " b"] | None,
        weights: Float[Array, " b"],
        keep: Bool[Array, "b m"],
        known: Known,
    ) -> Loss:
        losses = self._each()

        def of(i: int) -> Array:
            learned = {name: known.learned[f"task_{i}_{name}"] for name in losses[i].learned()}
            mine = known._replace(learned=learned)
            return losses[i].compare(queries, candidates, positives, weights, keep, mine).value

        task, wrong = self._task(jnp.asarray(known.task), weights)
        value = jax.lax.switch(task, [lambda i=i: of(i) for i in range(len(losses))])
        return Loss(value * jnp.where(wrong, jnp.nan, jnp.ones_like(value)), weight=weights.sum())

    def _task(self, tasks: Int[Array, " b"], weights: Float[Array, " b"]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
        """(the task of the rows that count, whether there are several or one without a loss)."""
        counted = weights != 0
        task = jnp.where(counted, tasks, 0).max()
        wrong = (counted & ((tasks != task) | (tasks < 0) | (tasks >= len(self.losses)))).any()
        if not isinstance(wrong, Tracer) and wrong:
            found = sorted(set(tasks[counted].tolist()))
            raise ConfigError(
                f"ByTask: a batch is of one task, 0 to {len(self.losses) - 1}, for which there are losses, not of "
                f"{', '.join(map(str, found))}; let the data draw batches of one task (`tasks=True`)"
            )
        return task, wrong

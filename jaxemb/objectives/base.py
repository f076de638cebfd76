"""The family of training objectives. One train step (`train/step.py`) serves them all."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.types import Batch, Features, Loss, Paper


class Objective(nn.Module):
    """Owns the encoder and whatever else is trained with it (predictor, head, masks).

    The order of a training step:
        host    batch = objective.prepare(batch, rng)           draws what must have fixed shapes, e.g. masks
        device  targets = objective.targets(batch)              run with the EMA parameters, gradient stopped
        device  loss = objective.loss(batch, targets)           run with the trained parameters, dropout on
    Evaluation sees `encode` alone.
    """

    paper: ClassVar[Paper | None] = None

    def prepare(self, batch: dict[str, np.ndarray], rng: np.random.Generator, shared: np.random.Generator) -> dict[str, np.ndarray]:
        """Host side, numpy only. `rng` differs between processes, `shared` is the same in all of them (for sizes, which
        fix array shapes). Shapes must be the same at every step, so that nothing recompiles."""
        return batch

    def targets(self, batch: Batch) -> Any:
        """What the loss regresses on, if that comes from the (EMA) model itself. None: nothing does."""
        return None

    def loss(self, batch: Batch, targets: Any) -> Loss:
        """The training loss; random numbers from `self.make_rng("dropout")`."""
        raise TypeError(f"{type(self).__name__} does not define loss")

    def encode(self, batch: Batch) -> Float[Array, "b d"]:
        """The embedding of each example: what evaluation and users see. Deterministic."""
        raise TypeError(f"{type(self).__name__} does not define encode")

    def features(self, batch: Batch) -> Features:
        """The token features behind `encode`: what pictures and dense evaluations see. Deterministic."""
        raise TypeError(f"{type(self).__name__} does not define features")

    def __call__(self, batch: Batch) -> tuple[Loss, Array]:
        """Touches every parameter; what `init` runs."""
        return self.loss(batch, self.targets(batch)), self.encode(batch)

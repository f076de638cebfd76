"""From an experiment to the shapes, the placement and the first values of its state; no data are opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxemb.ops.draws import Draws
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.sharding import batch_sharding, state_shardings
from jaxemb.train.state import TrainState, create

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def example_batch(experiment: Experiment, rows: int = 1) -> dict[str, np.ndarray]:
    """A prepared batch of zeros, as `data.spec` describes it: what parameters are made from."""
    zeros = {name: np.zeros((rows, *spec.shape), spec.dtype) for name, spec in experiment.data.spec.items()}
    return experiment.objective.prepare(zeros, Draws((0,), rows))


def batch_shapes(experiment: Experiment, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """The training batch as it lies on the devices."""
    rows = batch_sharding(mesh)

    def describe(x: np.ndarray) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        return jax.ShapeDtypeStruct((experiment.batch, *x.shape[1:]), dtype, sharding=rows)

    return {name: describe(x) for name, x in example_batch(experiment).items()}


def state_shapes(experiment: Experiment, mesh: Mesh) -> TrainState:
    """The state as shapes with their placement: what a checkpoint is restored into, on whatever devices are here."""
    batch = example_batch(experiment)
    shapes = jax.eval_shape(_init(experiment), batch)
    placed = state_shardings(shapes, experiment.sharding, mesh, scanned_paths(experiment.objective, batch))
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed)


def new_state(experiment: Experiment, mesh: Mesh) -> TrainState:
    """The state before the first update; every device computes its own share."""
    placed = jax.tree.map(lambda x: x.sharding, state_shapes(experiment, mesh))
    return jax.jit(_init(experiment), out_shardings=placed)(example_batch(experiment))


def _init(experiment: Experiment) -> Callable[[Any], TrainState]:
    tx = experiment.optim.make(experiment.steps)
    return lambda batch: create(experiment.objective, tx, batch, seed=experiment.seed, ema=experiment.ema is not None)

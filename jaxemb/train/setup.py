"""From an experiment to the shapes, the placement and the first values of its state; no data are opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from jaxemb.config import ConfigError, fields, from_json, to_json
from jaxemb.ops.draws import Draws
from jaxemb.ops.paths import by_path
from jaxemb.preprocess.base import Spec
from jaxemb.train.remembered import remembered
from jaxemb.train.rules import Meshes, uncut
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.sharding import batch_sharding, state_shardings
from jaxemb.train.state import TrainState, create

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def example_batch(experiment: Experiment, rows: int = 1, spec: Spec | None = None) -> dict[str, Any]:
    """A prepared batch of zeros, as `data.spec` (or another one of `data.specs`) describes it: what parameters are made from."""
    zeros = zeros_of(experiment.data.spec if spec is None else spec, rows)
    return experiment.objective.prepare(zeros, Draws((0,), rows))


def zeros_of(spec: Spec, rows: int) -> dict[str, Any]:
    """Arrays of zeros, nested as the spec is."""
    return {k: zeros_of(s, rows) if isinstance(s, Mapping) else np.zeros((rows, *s.shape), s.dtype) for k, s in spec.items()}


def batch_shapes(experiment: Experiment, mesh: Mesh, spec: Spec | None = None) -> dict[str, Any]:
    """The training batch as it lies on the devices."""
    rows = batch_sharding(mesh)

    def describe(x: np.ndarray) -> jax.ShapeDtypeStruct:
        dtype = jax.dtypes.canonicalize_dtype(x.dtype)
        return jax.ShapeDtypeStruct((experiment.batch, *x.shape[1:]), dtype, sharding=rows)

    return jax.tree.map(describe, example_batch(experiment, spec=spec))


def every_batch_shape(experiment: Experiment, mesh: Mesh) -> list[dict[str, Any]]:
    """Of data with several lengths, the batch of each."""
    return [batch_shapes(experiment, mesh, spec) for spec in experiment.data.specs]


def layout(batch: Any) -> tuple[tuple[str, tuple[int, ...], np.dtype], ...]:
    """(path, shape, dtype) of each array of a batch: what it was compiled for."""
    leaves = jax.tree.leaves_with_path(batch)
    return tuple(("/".join(str(getattr(k, "key", k)) for k in path), x.shape, np.dtype(x.dtype)) for path, x in leaves)


def state_shapes(experiment: Experiment, mesh: Meshes) -> TrainState:
    """The state as shapes with their placement: what a checkpoint is restored into, on whatever devices are here."""
    batch = example_batch(experiment)
    shapes = jax.eval_shape(_init(*_alike(experiment)), _seed(experiment), batch)
    placed = state_shardings(shapes, experiment.sharding, mesh, scanned_paths(experiment.objective, batch))
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, placed)


def uncut_parameters(experiment: Experiment, mesh: Meshes) -> str:
    """What is to be said of parameters that the mesh cannot cut; mostly nothing."""
    if mesh.shape["fsdp"] == 1:
        return ""
    shapes = {path: x.shape for path, x in by_path(state_shapes(experiment, mesh).params).items()}
    return uncut(shapes, experiment.sharding, mesh, scanned_paths(experiment.objective, example_batch(experiment)))


def new_state(experiment: Experiment, mesh: Mesh) -> TrainState:
    """The state before the first update; every device computes its own share."""
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda x: x.sharding, state_shapes(experiment, mesh)))
    init = _placed_init(*_alike(experiment), tree, tuple(leaves))
    return init(_seed(experiment), example_batch(experiment))


def _alike(experiment: Experiment) -> tuple[Any, ...]:
    """What the first state depends on beside the seed and the batch."""
    return experiment.objective, experiment.optim, experiment.steps, experiment.ema is not None


def _seed(experiment: Experiment) -> np.uint32:
    """An argument of what is compiled, so that all seeds share it."""
    return np.uint32(experiment.seed)


@remembered
def _init(objective: Any, optim: Any, steps: int, ema: bool) -> Callable[[Any, Any], TrainState]:
    tx = optim.make(steps)
    return lambda seed, batch: create(objective, tx, batch, seed=seed, ema=ema)


@remembered
def _placed_init(objective: Any, optim: Any, steps: int, ema: bool, tree: Any, placed: tuple[Any, ...]) -> Any:
    return jax.jit(_init(objective, optim, steps, ema), out_shardings=jax.tree.unflatten(tree, placed))


def check_tasks(experiment: Experiment) -> None:
    """Raises ConfigError where a loss by task is of other tasks than the data: numbers alone would take one for another."""
    known = getattr(getattr(experiment.objective, "contrast", None), "tasks", None)
    given, found = None if known is None else known(), experiment.data.label_names("task")
    if given is not None and given != found:
        raise ConfigError(
            f"objective.contrast has losses of the tasks {', '.join(given)}, and the data are of {', '.join(found) or 'none'}; "
            "name those of the data in objective.contrast.losses, and let the data read them, data.tasks=True"
        )


def own_objects(experiment: Experiment) -> tuple[Experiment, list[list[str]]]:
    """(the experiment as its stored config describes it, the fields that shared an object).

    Linen trains one module that stands in two fields as one, with one set of parameters; JSON holds two. What is trained is what
    the config says, so that a run can be rebuilt from it.
    """
    places: dict[int, list[str]] = {}
    for path, module in _modules(experiment, ""):
        places.setdefault(id(module), []).append(path)
    return from_json(to_json(experiment)), [paths for paths in places.values() if len(paths) > 1]


def _modules(x: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The modules in a tree of objects by their paths; what stands in a field by default is nobody's choice."""
    if isinstance(x, nn.Module) and path:
        yield path, x
    if isinstance(x, Mapping):
        inner = list(x.items())
    elif isinstance(x, (list, tuple)):
        inner = list(enumerate(x))
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        inner = [(name, value) for name, f in fields(type(x)).items() if (value := getattr(x, name)) is not f.default]
    else:
        return
    for name, value in inner:
        yield from _modules(value, f"{path}.{name}" if path else str(name))

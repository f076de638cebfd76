"""The weights of a run on this machine's devices, whatever devices it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.run.folder import Run
from jaxemb.train.setup import state_shapes
from jaxemb.train.sharding import make_mesh

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

WEIGHTS = ("ema", "params")


class Weights(NamedTuple):
    """What `read_weights` found."""

    variables: dict[str, Any]
    """What `objective.apply` takes."""
    step: int
    name: str
    """Which weights these are: "ema" or "params"."""
    mesh: Mesh


def read_weights(run: Run, experiment: Experiment, *, weights: str = "ema", say: Callable[[str], None] = print) -> Weights:
    """Of the step that the run's path names, else of the newest intact one. "ema" falls back to the trained parameters where no
    average was kept. Nothing else of the checkpoint is read."""
    if weights not in WEIGHTS:
        raise ConfigError(f"weights={weights!r}; valid: {', '.join(WEIGHTS)}")
    checkpoints = run.checkpoints(say)
    step = checkpoints.pick(run.step)
    mesh = mesh_here(experiment)
    shapes = state_shapes(experiment, mesh)
    name = weights if weights == "ema" and shapes.ema is not None else "params"
    wanted = {name: getattr(shapes, name)} | ({"stats": shapes.stats} if shapes.stats else {})
    items = checkpoints.restore(wanted, step).items
    return Weights({"params": items[name], **items.get("stats", {})}, step, name, mesh)


def mesh_here(experiment: Experiment) -> Mesh:
    """The mesh of the experiment where this machine has the devices for it, else all devices side by side."""
    try:
        return make_mesh(experiment.mesh)
    except ConfigError:
        return make_mesh({"data": -1})

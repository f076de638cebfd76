"""Where a run starts from: its newest checkpoint, what `init` says, or the random initialisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxemb.ops.paths import by_path, map_paths
from jaxemb.run.checkpoint import CheckpointError, Checkpoints
from jaxemb.run.folder import RunError
from jaxemb.train.init import SourceError, check
from jaxemb.train.setup import new_state, state_shapes
from jaxemb.train.state import TrainState, items_of, state_of

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


class Start(NamedTuple):
    """What the loop begins with."""

    state: TrainState
    step: int
    """Updates done."""
    place: Any
    """Where the data stand; None: at their beginning."""
    resumed: bool
    written: Any = None
    """What its checkpoint says of metrics.jsonl up to there."""


def find_start(experiment: Experiment, mesh: Mesh, checkpoints: Checkpoints, say: Callable[[str], None]) -> Start:
    """The newest intact checkpoint of the run, on today's devices, if there is one."""
    newest = checkpoints.newest(set_aside=True)
    if newest is not None:
        restored = checkpoints.restore(items_of(state_shapes(experiment, mesh)), newest)
        say(f"going on from step {newest}")
        return Start(state_of(restored.items), newest, restored.meta["data"], True, restored.meta.get("metrics"))
    return Start(first_state(experiment, mesh, say), 0, None, False)


def first_state(experiment: Experiment, mesh: Mesh, say: Callable[[str], None] = print) -> TrainState:
    """The state before the first update: what "untrained" means, in training as in what looks at a run afterwards."""
    state = new_state(experiment, mesh)
    if experiment.init is None:
        return state
    trees = {"params": state.params, **state.stats} | ({} if state.ema is None else {"ema": state.ema})
    shapes = {path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for path, x in by_path(trees).items()}
    found = dict(experiment.init(shapes, say))
    check(found, shapes)
    for path in shapes:  # a source without an average starts one from its parameters; copied, because the step donates both
        if path.startswith("ema/") and path not in found and (params := found.get(f"params/{path[4:]}")) is not None:
            found[path] = params.copy()
    filled = map_paths(lambda path, x: found[path].astype(x.dtype) if path in found else x, trees)
    params, average = filled.pop("params"), filled.pop("ema", None)
    return state.replace(params=params, ema=average, stats=filled)


def untrained(experiment: Experiment, mesh: Mesh, say: Callable[[str], None] = print) -> TrainState:
    """`first_state` for a run that is looked at; a copied run may have left behind what it started from, which is then said."""
    try:
        return first_state(experiment, mesh, say)
    except (RunError, CheckpointError, SourceError) as e:
        say(f"untrained here means the random initialisation, since what the run started from is not here: {e}")
        return new_state(experiment, mesh)

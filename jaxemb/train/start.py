"""Where a run starts from: its newest checkpoint, the parameters of another run, or the initialisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.ops.paths import map_paths, parameter_paths
from jaxemb.run.checkpoint import Checkpoints
from jaxemb.run.folder import Run
from jaxemb.train.setup import new_state, state_shapes
from jaxemb.train.sharding import replicated
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


def find_start(experiment: Experiment, mesh: Mesh, checkpoints: Checkpoints, say: Callable[[str], None]) -> Start:
    """The newest intact checkpoint of the run, on today's devices, if there is one."""
    newest = checkpoints.newest(set_aside=True)
    if newest is not None:
        restored = checkpoints.restore(items_of(state_shapes(experiment, mesh)), newest)
        say(f"going on from step {newest}")
        return Start(state_of(restored.items), newest, restored.meta["data"], True)
    state = new_state(experiment, mesh)
    if experiment.init_from:
        state = start_from(Run(experiment.init_from), experiment, state, mesh, say)
    return Start(state, 0, None, False)


def start_from(source: Run, experiment: Experiment, state: TrainState, mesh: Mesh, say: Callable[[str], None]) -> TrainState:
    """The state with the parameters of another run, by name; what the other run does not have keeps its initialisation.

    An experiment that keeps an average goes on with both of the source's, the trained parameters and the average. One that
    keeps none starts from the average where the source has one: from what its evaluations judged.
    """
    checkpoints = source.checkpoints(say)
    step = checkpoints.pick(source.step)
    has_average = checkpoints.has(step, "ema")

    def fill(item: str, into: Any) -> Any:
        stored = checkpoints.shapes(step, item)
        ours = dict(zip(parameter_paths(into), jax.tree.leaves(into), strict=True))
        shared, fresh = [p for p in ours if p in stored], [p for p in ours if p not in stored]
        if wrong := [p for p in shared if stored[p] != ours[p].shape]:
            shown = "".join(f"\n  {p}: {stored[p]} there, {ours[p].shape} here" for p in wrong[:5])
            raise ConfigError(f"init_from={experiment.init_from!r}: {len(wrong)} parameters are of another shape:{shown}")
        if not shared:
            some, wanted = (", ".join(list(names)[:5]) for names in (stored, ours))
            raise ConfigError(f"init_from={experiment.init_from!r} shares no parameter; it has {some} ..., not {wanted} ...")
        what = {"ema": "averaged parameters", "params": "parameters"}[item]
        say(f"{len(shared)} of {len(ours)} {what} from {source.path} at step {step}")
        if fresh:
            say(f"as initialised: {', '.join(fresh)}")
        found = checkpoints.read(step, item, {p: ours[p].sharding if p in ours else replicated(mesh) for p in stored})
        return map_paths(lambda path, x: found[path].astype(x.dtype) if path in found else x, into)

    if state.ema is None:
        return state.replace(params=fill("ema" if has_average else "params", state.params))
    params = fill("params", state.params)
    average = fill("ema", state.ema) if has_average else jax.tree.map(lambda x: x.copy(), params)
    return state.replace(params=params, ema=average)

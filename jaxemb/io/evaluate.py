"""A run judged from its path alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from jaxemb.config import ConfigError, override, suggest, to_json
from jaxemb.io.weights import mesh_here, read_weights
from jaxemb.ops.paths import parameter_paths
from jaxemb.run.environment import environment
from jaxemb.run.files import Where, write_json
from jaxemb.run.folder import Run
from jaxemb.train.judge import Judge, measure
from jaxemb.train.recipe import Recipe, read_fitted
from jaxemb.train.setup import state_shapes

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def evaluate(
    run: Where,
    *,
    evals: Sequence[str] | None = None,
    weights: str = "ema",
    changes: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, dict[str, float]]:
    """The figures of each evaluation of the run's experiment, e.g. {"knn": {"top1": 0.41}}, on whatever devices are here.

    `run` is a run folder, "runs/shapes" or with a step "runs/shapes@500"; `evals` names some of its evaluations (None: all). The
    figures and where they come from are also written to RUN/evals/<name>@<step>.json (-params.json for the trained weights).
    `changes` are fields to read the run with, "objective.encoder.pos=..." or "data.path=...": any that leave its parameters as they
    are. The name of the file then ends in a hash of them.
    """
    folder = Run(run)
    experiment = folder.restored(changed(folder.experiment(), changes))
    names = list(experiment.evals) if evals is None else list(evals)
    for name in names:
        if name not in experiment.evals:
            raise ConfigError(f"{folder.path} has no evaluation {name!r}{suggest(name, experiment.evals)}")
    if not names:
        raise ConfigError(f"{folder.path}: its experiment has no evaluations")
    judge, step, kind = _judge(folder, experiment, weights, say)
    where = environment()
    figures = {}
    for name in names:
        own = {key.partition("/")[2]: value for key, value in judge(name).items()}
        if not own:
            continue
        figures[name] = own
        record = {
            "figures": own,
            "evaluation": to_json(experiment.evals[name]),
            "run": str(folder.path),
            "step": step,
            "weights": kind,
            "changes": list(changes),
            "seed": experiment.seed,
            **where,
        }
        mark = "-" + hashlib.sha256("\n".join(changes).encode()).hexdigest()[:8] if changes else ""
        file = folder.path / "evals" / f"{name}@{step}{'-params' if weights == 'params' else ''}{mark}.json"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, record)
        except OSError as e:  # a run of somebody else's: the figures are what was asked for
            say(f"{file} cannot be written: {e.strerror}")
    return figures


def _judge(folder: Run, experiment: Any, weights: str, say: Callable[[str], None]) -> tuple[Callable, int, str]:
    """(evaluation's name -> figures, step, what is judged) of a training or of a recipe."""
    if isinstance(experiment, Recipe):
        model, step = read_fitted(folder, experiment, say)
        return lambda name: measure(experiment, model, [name], say), step, "arrays"
    found = read_weights(folder, experiment, weights=weights, say=say)
    judge = Judge(experiment, found.mesh, say=say)
    return lambda name: judge(found.variables, [name]), found.step, found.name


def changed(experiment: Experiment, changes: Sequence[str]) -> Experiment:
    """The experiment with fields changed that do not touch its parameters, e.g. how positions beyond the training are read."""
    if not changes:
        return experiment
    new = override(experiment, changes)
    if isinstance(experiment, Recipe):
        if new.fit != experiment.fit:
            raise ConfigError(f"--set {' --set '.join(changes)}: what was fitted cannot be changed afterwards; compute it anew")
        return new
    was, now = (shapes(e) for e in (experiment, new))
    if was != now:
        paths = sorted(path for path in was | now if was.get(path) != now.get(path))
        shown = ", ".join(paths[:5]) + (", ..." if len(paths) > 5 else "")
        raise ConfigError(
            f"--set {' --set '.join(changes)}: the model would have other parameters than the run ({shown}); a run can be read "
            "with changes that leave its parameters alone"
        )
    return new


def shapes(experiment: Experiment) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and of everything else that a checkpoint holds for the model, by its path."""
    state = state_shapes(experiment, mesh_here(experiment))
    tree = {**state.params, **state.stats}
    return dict(zip(parameter_paths(tree), (x.shape for x in jax.tree.leaves(tree)), strict=True))

"""A run judged from its path alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxemb.config import ConfigError, suggest, to_json
from jaxemb.io.run import Run, environment, write_json
from jaxemb.io.weights import read_weights
from jaxemb.train.judge import Judge


def evaluate(
    run: str | Path, *, evals: Sequence[str] | None = None, weights: str = "ema", say: Callable[[str], None] = print
) -> dict[str, dict[str, float]]:
    """The figures of each evaluation of the run's experiment, e.g. {"knn": {"top1": 0.41}}, on whatever devices are here.

    `run` is a run folder, "runs/shapes" or with a step "runs/shapes@500"; `evals` names some of its evaluations (None: all). The
    figures and where they come from are also written to RUN/evals/<name>@<step>.json (-params.json for the trained weights).
    """
    folder = Run(run)
    experiment = folder.experiment()
    names = list(experiment.evals) if evals is None else list(evals)
    for name in names:
        if name not in experiment.evals:
            raise ConfigError(f"{folder.path} has no evaluation {name!r}{suggest(name, experiment.evals)}")
    if not names:
        raise ConfigError(f"{folder.path}: its experiment has no evaluations")
    found = read_weights(folder, experiment, weights=weights, say=say)
    judge = Judge(experiment, found.mesh, say=say)
    where = environment()
    figures = {}
    for name in names:
        own = {key.partition("/")[2]: value for key, value in judge(found.variables, [name]).items()}
        if not own:
            continue
        figures[name] = own
        record = {
            "figures": own,
            "evaluation": to_json(experiment.evals[name]),
            "run": str(folder.path),
            "step": found.step,
            "weights": found.name,
            "seed": experiment.seed,
            **where,
        }
        file = folder.path / "evals" / f"{name}@{found.step}{'-params' if weights == 'params' else ''}.json"
        try:
            file.parent.mkdir(exist_ok=True)
            write_json(file, record)
        except OSError as e:  # a run of somebody else's: the figures are what was asked for
            say(f"{file} cannot be written: {e.strerror}")
    return figures

"""The evaluations of an experiment, during and after training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jax.sharding import Mesh

from jaxemb.config import ConfigError, suggest
from jaxemb.evals.base import Eval, Scores, Searches
from jaxemb.evals.labels import NoLabels
from jaxemb.train.encode import Encoder

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


class Judge:
    """Runs evaluations on the averaged parameters where an average is kept, else on the trained ones; compiled once a run."""

    def __init__(self, experiment: Experiment, mesh: Mesh, say: Callable[[str], None] = print):
        self._experiment, self._say = experiment, say
        self._left_out: set[str] = set()
        for name, e in experiment.evals.items():
            check_needs(name, e, experiment.objective)
        self._encoder = Encoder(experiment.objective, mesh, spec=experiment.data.spec)

    def due(self, step: int) -> list[str]:
        """The evaluations of a step: before the first update (the random initialisation), every `every` steps, all at the end."""
        last = step == self._experiment.steps
        return [name for name, e in self._experiment.evals.items() if last or (e.every > 0 and step % e.every == 0)]

    def __call__(self, variables: Any, names: Iterable[str] | None = None) -> dict[str, float]:
        """The figures by name of the evaluation and its own, e.g. {"knn/top1": 0.41}."""
        return measure(self._experiment, self._encoder.bind(variables), names, self._say, self._left_out)

    def check_best(self, figures: Mapping[str, float], names: Iterable[str]) -> None:
        """Refuses a `best` that its evaluation does not give: found out at step 0, before anything is trained."""
        best = self._experiment.best
        if best is None or best.partition("/")[0] not in names or best in figures:
            return
        there = [f for f in figures if f.startswith(f"{best.partition('/')[0]}/")]
        raise ConfigError(f"best={best!r}: the evaluation gives no such figure{suggest(best, there)}")


def measure(
    experiment: Any, model: Any, names: Iterable[str] | None, say: Callable[[str], None], left_out: set[str] | None = None
) -> dict[str, float]:
    """Figures of the evaluations of an experiment or a recipe; what needs labels that are not there is left out, and said."""
    left_out = set() if left_out is None else left_out
    figures = {}
    for name in experiment.evals if names is None else names:
        e = experiment.evals[name]
        try:
            found = e.run(model, e.data or experiment.data, seed=experiment.seed)
        except NoLabels as reason:  # one experiment serves folders of images with classes and without
            if name not in left_out:
                say(f"{name} is left out: {reason}")
            left_out.add(name)
            continue
        figures |= {f"{name}/{figure}": value for figure, value in found.items()}
    return figures


HEADS = ("logits", "nll")


def check_needs(name: str, evaluation: Eval, objective: Any) -> None:
    """Raises ConfigError where the model cannot do what an evaluation asks for, before anything is trained."""
    kind = type(objective).__name__
    if evaluation.needs is Scores and not any(hasattr(objective, method) for method in HEADS):
        raise ConfigError(
            f"evals.{name}: {type(evaluation).__name__} needs a model that scores ({' or '.join(HEADS)}); {kind} has no such head"
        )
    if evaluation.needs is Searches:
        raise ConfigError(f"evals.{name}: {type(evaluation).__name__} needs an index to search; {kind} is a model")

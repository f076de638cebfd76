"""What is computed in closed form: the same run folder and the same verbs as for training, without steps."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import io
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxemb.config import ConfigError, from_json, to_json, within
from jaxemb.data.base import Data, Split
from jaxemb.evals.base import Eval, Rows
from jaxemb.log.progress import show
from jaxemb.log.writer import Writer
from jaxemb.run.checkpoint import CheckpointError
from jaxemb.run.files import Where, absolute
from jaxemb.run.folder import Run
from jaxemb.run.manifest import seal
from jaxemb.train.judge import measure
from jaxemb.train.names import check_names
from jaxemb.transforms.base import Arrays, Transform

DONE = 1
"""The step under which what was computed, and its figures, stand."""


@dataclasses.dataclass(frozen=True)
class Fit(abc.ABC):
    """Closed-form work: arrays from data, embeddings from arrays."""

    @abc.abstractmethod
    def fit(self, data: Data, *, seed: int) -> Arrays:
        """What is computed, by name; saved with the run."""

    @abc.abstractmethod
    def encode(self, arrays: Arrays, batch: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n d"]:
        """A row an example of `batch`, any number of them."""


class Fitted:
    """What was computed, as evaluations see it: `Encodes` of evals/base.py."""

    def __init__(self, fit: Fit, arrays: Arrays):
        self._fit, self._arrays = fit, arrays

    def encode(self, rows: Rows, *, role: str = "document", of: str = "encode") -> Float[np.ndarray, "n d"]:
        """A row an example."""
        if of != "encode":
            raise ConfigError(f"a recipe has embeddings alone, and this evaluation asks for {of!r}")
        return self._fit.encode(self._arrays, rows[:] if isinstance(rows, Split) else rows)


@dataclasses.dataclass(frozen=True)
class FitInputs(Fit):
    """A transform fitted to the inputs themselves, e.g. whitened pixels: what a learnt encoder has to beat to be worth anything."""

    transform: Transform
    rows: int = 10_000
    """Training rows at most, drawn with the seed."""

    def fit(self, data: Data, *, seed: int) -> Arrays:
        return self.transform.fit(_flat(data.split("train").sample(self.rows, seed=seed)[:]))

    def encode(self, arrays: Arrays, batch: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n d"]:
        return self.transform.apply(arrays, _flat(batch))


def _flat(batch: Mapping[str, Any]) -> Float[np.ndarray, "n d"]:
    """The first array of numbers, a row an example."""
    for x in batch.values():
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.ndim > 1:
            return x.reshape(len(x), -1)
    raise ConfigError(f"FitInputs needs an array of numbers, the data hold {', '.join(batch)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is computed from what, and how it is judged."""

    name: str
    fit: Fit
    data: Data
    evals: Mapping[str, Eval] = field(default_factory=dict)
    seed: int = 0
    expect: Mapping[str, float] = field(default_factory=dict)
    """Figures from a recorded run; tests/slow allows 0.03 less."""

    def __post_init__(self) -> None:
        check_names(self.name, self.evals)
        within(self, seed=(0, 2**32 - 1))


def compute(recipe: Recipe, run: Where, *, say: Callable[[str], None] = print) -> dict[str, float]:
    """Computes `recipe` in the folder `run`, judges it, and returns the figures. What is done already is not done again."""
    if jax.process_count() > 1:
        raise ConfigError("a recipe is computed by one process; start it on one machine")
    recipe, folder = from_json(to_json(recipe)), Run(run)
    with folder.claimed(recipe):
        recipe = folder.restored(recipe)
        if DONE in folder.checkpoints().sealed() and folder.figures(DONE):
            say(f"nothing is left to do: {folder.path} has been computed")
            return folder.figures(DONE)
        with contextlib.closing(Writer(folder.path)) as writer:
            writer.resume(None)
            arrays = recipe.fit.fit(recipe.data, seed=recipe.seed)
            save_arrays(folder, arrays)
            figures = measure(recipe, Fitted(recipe.fit, arrays), recipe.evals, say)
            writer.write(DONE, figures)
            line = f"computed  {show(figures)}"
            writer.text(line)
            say(line)
    return folder.figures(DONE)


def save_arrays(folder: Run, arrays: Arrays) -> None:
    """checkpoints/1/arrays/NAME.npy, with checksums beside as those of any checkpoint."""
    checkpoints = absolute(folder.path / "checkpoints")
    inside = checkpoints / str(DONE) / "arrays"
    inside.mkdir(parents=True, exist_ok=True)
    for name, x in arrays.items():
        stream = io.BytesIO()
        np.save(stream, x, allow_pickle=False)
        (inside / f"{name}.npy").write_bytes(stream.getvalue())
    seal(checkpoints, DONE)


def read_fitted(folder: Run, recipe: Recipe, say: Callable[[str], None] = print) -> tuple[Fitted, int]:
    """(a computed recipe as evaluations see it, its step), after the checksums have been compared."""
    checkpoints = folder.checkpoints(say)
    step = checkpoints.pick(folder.step)
    arrays, inside = {}, checkpoints.folder / str(step) / "arrays"
    try:
        for file in inside.iterdir():
            arrays[file.name.removesuffix(".npy")] = np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError) as e:
        raise CheckpointError(f"{inside} holds no arrays that can be read: {e}") from e
    return Fitted(recipe.fit, arrays), step


def trained(experiment: Any, run: Where) -> Any:
    """The experiment, if there is a model behind it; what a recipe cannot be asked for is said."""
    if isinstance(experiment, Recipe):
        what = f"{experiment.name} is a Recipe, computed in closed form"
        raise ConfigError(f"{run}: {what}: train, eval, show, plot and compare know it")
    return experiment

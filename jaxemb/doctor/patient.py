"""A run as the doctor sees it: its data, its weights before and after training, its metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxemb.config import ConfigError
from jaxemb.io.weights import mesh_here, read_weights
from jaxemb.ops.draws import Draws
from jaxemb.run.folder import Run
from jaxemb.train.encode import Bound, Encoder
from jaxemb.train.recipe import trained
from jaxemb.train.remembered import remembered
from jaxemb.train.start import untrained
from jaxemb.types import Now

LEVELS = ("green", "yellow", "red", "grey")


class Finding(NamedTuple):
    """One measurement."""

    group: str
    name: str
    value: float
    level: str
    """"green", "yellow", "red", or "grey" where so few examples cannot tell."""
    meaning: str
    advice: str = ""
    """What to try; empty where nothing is wrong."""


class Patient:
    """What the checks ask for, computed when it is first asked for."""

    def __init__(self, run: str, *, samples: int = 512, say: Callable[[str], None] = print):
        self.run, self.samples, self.say = Run(run), samples, say
        self.experiment: Any = self.run.restored(trained(self.run.experiment(), run))
        self.objective, self.data = self.experiment.objective, self.experiment.data
        self.mesh = mesh_here(self.experiment)
        found = read_weights(self.run, self.experiment, weights="params", say=say)
        self.student, self.step = found.variables, found.step
        teacher = read_weights(self.run, self.experiment, weights="ema", say=say)
        self.teacher = teacher.variables if teacher.name == "ema" else None
        self._encoder = Encoder(self.objective, self.mesh, min(samples, 256), spec=self.data.spec)

    @functools.cached_property
    def untrained(self) -> Any:
        """The variables of step 0: what the run started from."""
        return untrained(self.experiment, self.mesh, self.say).variables("params")

    @functools.cached_property
    def raw(self) -> dict[str, np.ndarray]:
        """Training examples as the encoder sees them, without augmentation or masks."""
        return self.data.split("train").sample(self.samples, seed=0)[:]

    @functools.cached_property
    def batch(self) -> dict[str, np.ndarray]:
        """A training batch: augmented, with masks, of at most 64 rows."""
        rows = min(64, self.experiment.batch)
        drawn = next(self.data.batches(rows, seed=self.experiment.seed))
        return self.objective.prepare(drawn, Draws((0,), rows))

    @functools.cached_property
    def series(self) -> dict[str, np.ndarray]:
        """What training wrote at each step that it logged: name -> values."""
        found: dict[str, list[float]] = {}
        for row in self.run.metrics():
            for name, value in row.items():
                if isinstance(value, (int, float)) and "/" not in name:
                    found.setdefault(name, []).append(float(value))
        return {name: np.asarray(values) for name, values in found.items()}

    def model(self, variables: Any) -> Bound:
        """The objective with these variables, as evaluations see it."""
        return self._encoder.bind(variables)

    def encode(self, variables: Any, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Embeddings with these variables."""
        return self._encoder.bind(variables).encode(arrays)

    @functools.cached_property
    def embeddings(self) -> dict[str, np.ndarray]:
        """Of the sample: "untrained", "student", and "teacher" where there is one."""
        every = {"untrained": self.untrained, "student": self.student, "teacher": self.teacher}
        return {name: self.encode(v, self.raw) for name, v in every.items() if v is not None}

    @functools.cached_property
    def now(self) -> tuple[int, jax.Array]:
        """The step of the checkpoint, with a fixed key."""
        return self.step, jax.random.key(0)

    @functools.cached_property
    def targets(self) -> Any:
        """What the teacher gives the batch to predict; None for objectives without."""
        variables = self.student if self.teacher is None else self.teacher
        return _targets(self.objective, self.experiment.steps)(variables, self.batch, *self.now)

    def loss(self, batch: dict[str, np.ndarray], targets: Any) -> float:
        """The training loss of the trained parameters; the same random numbers at every call."""
        return float(_loss(self.objective, self.experiment.steps)(self.student, batch, targets, *self.now))

    def images(self) -> np.ndarray:
        """The main array of the sample, flattened; a ConfigError where it is not made of numbers."""
        name = next((n for n, s in self.data.spec.items() if s.dtype.startswith("float") and s.shape), None)
        if name is None:
            raise ConfigError(f"the data hold {', '.join(self.data.spec)}: nothing to look at as numbers")
        return self.raw[name].reshape(len(self.raw[name]), -1)


@remembered
def _targets(objective: Any, steps: int) -> Callable:
    return jax.jit(lambda v, b, step, key: objective.apply(v, b, Now(step, steps, key), method="targets"))


@remembered
def _loss(objective: Any, steps: int) -> Callable:
    def loss(variables: Any, batch: Any, targets: Any, step: Any, key: jax.Array) -> jax.Array:
        mutable = [*(name for name in variables if name != "params"), "losses"]
        rngs = {"dropout": jax.random.key(0)}
        now = Now(step, steps, key)
        return objective.apply(variables, batch, targets, now, method="loss", rngs=rngs, mutable=mutable)[0].value

    return jax.jit(loss)


def grade(value: float | np.floating, *, yellow: float, red: float) -> str:
    """The level of a value that is better the larger it is where yellow > red, else better the smaller."""
    worse = (lambda limit: value < limit) if yellow > red else (lambda limit: value > limit)
    return "red" if worse(red) or not np.isfinite(value) else "yellow" if worse(yellow) else "green"

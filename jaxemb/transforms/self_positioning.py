"""Self Positioning: where in the space of task vectors the merged model should lie, found by gradient descent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, within
from jaxemb.transforms.base import Leaves, Merge, Tree
from jaxemb.types import Paper

Objective = Callable[[Tree, Any], Array]
"""(parameters, batch) -> a loss, the one that the models were trained with."""


class Place(NamedTuple):
    """Coordinates of a model theta_0 + exp(l) sum_k softmax(a)_k tau_k."""

    a: Array
    """k"""
    l: Array  # noqa: E741 (the letter of the formula)

    @property
    def alpha(self) -> Float[np.ndarray, " k"]:
        """softmax(a): shares of the task vectors."""
        return np.asarray(jax.nn.softmax(self.a))

    @property
    def scale(self) -> float:
        """lambda = exp(l)."""
        return math.exp(float(self.l))


class Found(NamedTuple):
    """What a search ends with. alpha that is nearly uniform with lambda near 1 says that plain averaging would do."""

    params: Tree
    place: Place
    losses: tuple[float, ...]
    """Before each step."""


@dataclasses.dataclass(frozen=True)
class SelfPositioning(Merge):
    """theta = theta_0 + lambda sum_k alpha_k tau_k with alpha = softmax(a), lambda = exp(l), found by Adam on a loss over probes.

    a and l start at 0: the average. Probes are batches of each task, held out of training and of evaluation, all tasks with the
    same loss and temperature. A step takes one batch of every task (the mean of their losses) or, with `every_task` False, of one
    drawn task. The abstract and summaries alone were at hand: softmax and exp are the natural reading.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Improving General Text Embedding Model: Tackling Task Conflict and Data Imbalance through Model Merging",
        2024,
        "arxiv.org/abs/2410.15035",
    )
    needs_base: ClassVar[bool] = True
    side: ClassVar[str] = "a loss and batches of every task"

    steps: int = 200
    rate: float = 1e-2
    """Adam's learning rate."""
    every_task: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        within(self, steps=(1, 10**7), rate=(1e-9, 1e3))

    def __call__(self, models: Sequence[Tree], base: Tree | None = None, **side: Any) -> Tree:
        return self.search(models, base, **side).params

    def merge(self, models: Sequence[Leaves], base: Leaves | None) -> Leaves:
        raise TypeError("SelfPositioning searches on trees: call it, or `search`")

    def search(
        self,
        models: Sequence[Tree],
        base: Tree | None,
        *,
        loss: Objective | None = None,
        probes: Sequence[Sequence[Any]] | None = None,
    ) -> Found:
        """`probes`: of each task its batches, all of the same shapes; they are gone through in turn."""
        self.checked(models, base)
        if loss is None or probes is None:
            raise ConfigError(f"SelfPositioning needs {self.side}: loss=f(params, batch), probes=[[batch, ...] of a task, ...]")
        if not probes or not all(len(batches) for batches in probes):
            raise ConfigError("SelfPositioning: every task needs a batch of probes at least")
        steps = list(walk(models, base, loss, self._steps(probes), self.rate))
        place, losses = steps[-1][1], [float(value) for value, _ in steps]
        if bad := [i for i, value in enumerate(losses) if not math.isfinite(value)]:
            raise ConfigError(
                f"SelfPositioning: the loss over probes is {losses[bad[0]]} at step {bad[0]}, of which no place follows"
            )
        return Found(jax.jit(position)(models, base, place), place, tuple(losses))

    def _steps(self, probes: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
        rng = np.random.default_rng(self.seed)
        for i in range(self.steps):
            tasks = range(len(probes)) if self.every_task else [int(rng.integers(len(probes)))]
            yield tuple(probes[k][i % len(probes[k])] for k in tasks)


def start(count: int) -> Place:
    """The average with lambda 1."""
    return Place(jnp.zeros(count), jnp.zeros(()))


def position(models: Sequence[Tree], base: Tree, place: Place) -> Tree:
    """theta(a, l). What is not floating stays that of the base."""
    alpha = jax.nn.softmax(place.a) * jnp.exp(place.l)

    def at(x: Any, *thetas: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        taus = jnp.stack([theta - x for theta in thetas])
        return x + jnp.tensordot(alpha.astype(x.dtype), taus, 1)

    return jax.tree.map(at, base, *models)


def walk(
    models: Sequence[Tree], base: Tree, loss: Objective, batches: Iterable[tuple[Any, ...]], rate: float
) -> Iterator[tuple[Array, Place]]:
    """(loss before, place after) of each step of Adam; the loss of a step is the mean over its batches."""
    adam = optax.adam(rate)

    @jax.jit
    def step(models: Sequence[Tree], base: Tree, place: Place, state: Any, batches: tuple[Any, ...]) -> Any:
        def objective(place: Place) -> Array:
            theta = position(models, base, place)
            return jnp.stack([loss(theta, batch) for batch in batches]).mean()

        value, gradient = jax.value_and_grad(objective)(place)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes that strict promotion refuses
            change, state = adam.update(gradient, state, place)
        return value, optax.apply_updates(place, change), state

    place = start(len(models))
    state = adam.init(place)
    for some in batches:
        value, place, state = step(tuple(models), base, place, state, some)
        yield value, place


def information(loss: Objective, params: Tree, batches: Sequence[Any]) -> Tree:
    """The diagonal of the empirical Fisher information for `Fisher`: the mean over batches of squared gradients; with batches of
    one example that of the definition."""
    square = jax.jit(lambda p, b: jax.tree.map(jnp.square, jax.grad(loss)(p, b)))
    total = None
    for batch in batches:
        found = square(params, batch)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    if total is None:
        raise ConfigError("information needs a batch at least")
    return jax.tree.map(lambda x: x / len(batches), total)


def same_basin(a: Tree, b: Tree, loss: Objective, batch: Any, points: int = 11) -> Float[np.ndarray, " points"]:
    """The loss along the straight line from a to b: where it rises in between, the two lie in different basins and no merging of
    them is of use."""
    line = jax.jit(lambda t: loss(jax.tree.map(lambda x, y: (1 - t).astype(x.dtype) * x + t.astype(x.dtype) * y, a, b), batch))
    return np.asarray([line(t) for t in jnp.linspace(0.0, 1.0, points)])

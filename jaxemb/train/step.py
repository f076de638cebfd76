"""One training step, the same for every objective."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxemb.ops.dtypes import wide
from jaxemb.ops.ema import ema_update
from jaxemb.ops.pieces import cut
from jaxemb.ops.tract import MOMENTS
from jaxemb.train.probes import Probe, Seen
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.state import TrainState
from jaxemb.types import Averaged, Batch, Loss, Now

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_step(
    objective: Any,
    optim: Any,
    *,
    steps: int,
    ema: tuple[float, float] | None = None,
    accumulate: int = 1,
    probes: Mapping[str, Probe] | None = None,
) -> Step:
    """(state, batch) -> (state, metrics), to be jitted with the state donated.

    The average moves after the update, see `momentum_at`. `probes` look at every step of what this gives.
    """
    horizon = optim.stretch * steps  # not cut to a whole number, unlike those of lr and decay: as released
    apply = optim.watch(objective.apply)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        def run(params: Any, stats: Any, part: Batch, key: jax.Array) -> tuple[Loss, Any]:
            dropout, shared = jax.random.split(key)
            now = Now(state.step, steps, shared)
            teacher = {"params": params if state.ema is None else state.ema, **stats}
            targets = jax.lax.stop_gradient(objective.apply(teacher, part, now, method="targets"))
            mutable = [*stats, "losses", *optim.measured]
            student = {"params": params, **stats}
            return apply(student, part, targets, now, method="loss", rngs={"dropout": dropout}, mutable=mutable)

        tx = optim.make(steps, scanned_paths(objective, batch))
        loss = MicroBatches(run, batch, jax.random.fold_in(state.key, state.step), accumulate, state)
        grads, found, stats = loss.gradient()
        grads = optim.precondition(grads, found.measured)
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if ema is not None:
            average = ema_update(state.ema, params, momentum_at(state.step, ema, horizon))
        metrics = {"loss": found.value, **found.logs, "lr": optim.lr_at(state.step + 1, steps), "grad_norm": optax.tree.norm(grads)}
        for name, probe in (probes or {}).items():
            figures = probe(Seen(objective, state, grads, loss.total))
            metrics |= {f"{name}_{figure}": value for figure, value in figures.items()}
        return state.replace(step=state.step + 1, params=params, stats=stats, ema=average, opt=opt), metrics

    return step


class Found(NamedTuple):
    """What a loss says beside its gradient."""

    value: Any
    logs: Any
    """By name, each an `Averaged` until the micro-batches are through."""
    measured: Any


class MicroBatches:
    """The loss of an update, over micro-batches one after the other in memory.

        loss = sum(value weight) / sum(weight) + mean of the sown terms,   a log = sum(log its weight) / sum(its weight)

    The weights are summed first: they follow from the batch alone, so that XLA computes nothing else for them. Statistics of the
    batch (BatchNorm, contrastive negatives) are those of a micro-batch.
    """

    def __init__(self, run: Callable, batch: Batch, key: jax.Array, parts: int, state: TrainState):
        """`run`: (params, stats, part, key) -> (Loss, what was sown)."""
        self._run, self._parts, self._state = run, parts, state
        if parts == 1:
            self._xs: Any = (batch, key, 1.0)
            return
        pieces = (jax.tree.map(functools.partial(cut, parts=parts), dict(batch)), jax.random.split(key, parts))
        weights = jax.lax.map(lambda xs: jnp.asarray(run(state.params, state.stats, *xs)[0].weight), pieces)
        weights = jax.lax.stop_gradient(weights)
        self._xs = (*pieces, weights / jnp.where(weights.sum() > 0, weights.sum(), jnp.ones_like(weights[0])))

    def gradient(self) -> tuple[Any, Found, Any]:
        """(the gradient, what the loss says, the new statistics)."""
        differentiate = jax.grad(self._share, has_aux=True)
        params, stats = self._state.params, self._state.stats
        if self._parts == 1:
            grads, (found, stats) = differentiate(params, stats, *self._xs)
            return grads, found._replace(logs={name: log.value for name, log in found.logs.items()}), stats

        def one(carry: Any, xs: Any) -> tuple[Any, None]:
            stats, total = carry
            grads, (found, stats) = differentiate(params, stats, *xs)
            return (stats, jax.tree.map(jnp.add, total, (grads, found))), None

        grads, (found, _) = jax.eval_shape(differentiate, params, stats, *jax.tree.map(lambda x: x[0], self._xs))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (grads, found))
        (stats, (grads, found)), _ = jax.lax.scan(one, (stats, zeros), self._xs)
        return grads, found._replace(logs={name: mean_of(log) for name, log in found.logs.items()}), stats

    def total(self, f: Callable[[Callable[[Any], jax.Array]], Any]) -> Any:
        """The sum over the micro-batches of a function of their shares of the loss, each a function of the parameters."""

        def one(xs: Any) -> Any:
            return f(lambda params: self._share(params, self._state.stats, *xs)[0])

        if self._parts == 1:
            return one(self._xs)
        return jax.tree.map(lambda x: x.sum(0), jax.lax.map(one, self._xs))

    def _share(self, params: Any, stats: Any, part: Batch, key: jax.Array, share: Any) -> tuple[jax.Array, tuple[Found, Any]]:
        out, sown = self._run(params, stats, part, key)
        terms, measured = auxiliary(sown.pop("losses", {})), sown.pop(MOMENTS, {})
        logs = {name: log if isinstance(log, Averaged) else Averaged(log, share) for name, log in out.logs.items()}
        if self._parts > 1:
            out = out._replace(value=out.value * share)
            terms, measured = jax.tree.map(lambda x: x / self._parts, (terms, measured))
            logs = {name: weighted(log) for name, log in logs.items()}
        value = out.value + sum(terms.values())
        logs |= {name: Averaged(term, 1 / self._parts) for name, term in terms.items()}
        return value, (Found(value, logs, measured), sown)


def weighted(log: Averaged) -> Averaged:
    """What is summed over the micro-batches, in a dtype that can hold the sum of many."""
    value, weight = jnp.asarray(log.value), jnp.asarray(log.weight)
    dtype = wide(value) if jnp.issubdtype(value.dtype, jnp.floating) else jnp.float32
    return Averaged(value.astype(dtype) * weight.astype(dtype), weight.astype(dtype))


def mean_of(log: Averaged) -> jax.Array:
    """Of sums over the micro-batches, of values times weights and of weights; 0 where nothing counts."""
    return log.value / jnp.where(log.weight > 0, log.weight, jnp.ones_like(log.weight))


def auxiliary(sown: Any) -> dict[str, jax.Array]:
    """The loss terms that modules sowed into `losses` beside the objective's own: of a module that ran twice their mean, of
    several modules their sum, by name."""
    terms: dict[str, jax.Array] = {}
    for path, values in jax.tree.leaves_with_path(sown, is_leaf=lambda x: isinstance(x, tuple)):
        terms[path[-1].key] = terms.get(path[-1].key, 0.0) + jnp.stack(values).mean()
    return terms


def momentum_at(i: Any, ema: tuple[float, float], horizon: int | float) -> jax.Array:
    """Momentum of the average after update i = 0, 1, ...: first + i (last - first) / horizon."""
    return ema[0] + (ema[1] - ema[0]) * jnp.asarray(i, jnp.result_type(float)) / horizon

"""One training step, the same for every objective."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxemb.ops.ema import ema_update
from jaxemb.ops.tract import MOMENTS, deferred
from jaxemb.train.scanned import scanned_paths
from jaxemb.train.state import TrainState
from jaxemb.types import Batch, Loss, Now

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_step(objective: Any, optim: Any, *, steps: int, ema: tuple[float, float] | None = None, accumulate: int = 1) -> Step:
    """(state, batch) -> (state, metrics), to be jitted with the state donated.

    The average moves after the update, see `momentum_at`.
    """
    horizon = optim.stretch * steps  # not cut to a whole number, unlike those of lr and decay: as released

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        def run(params: Any, stats: Any, part: Batch, key: jax.Array) -> tuple[Loss, Any]:
            dropout, shared = jax.random.split(key)
            now = Now(state.step, steps, shared)
            teacher = {"params": params if state.ema is None else state.ema, **stats}
            targets = jax.lax.stop_gradient(objective.apply(teacher, part, now, method="targets"))
            mutable = [*stats, "losses", *([MOMENTS] if accumulate > 1 else [])]
            return objective.apply(
                {"params": params, **stats}, part, targets, now, method="loss", rngs={"dropout": dropout}, mutable=mutable
            )

        tx = optim.make(steps, scanned_paths(objective, batch))
        key = jax.random.fold_in(state.key, state.step)
        found, stats, grads = gradient(run, state.params, state.stats, batch, key, accumulate)
        grads = deferred(grads, found.moments)
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if ema is not None:
            average = ema_update(state.ema, params, momentum_at(state.step, ema, horizon))
        metrics = {"loss": found.value, **found.logs, "lr": optim.lr_at(state.step + 1, steps), "grad_norm": optax.tree.norm(grads)}
        return state.replace(step=state.step + 1, params=params, stats=stats, ema=average, opt=opt), metrics

    return step


class Found(NamedTuple):
    """What a loss says beside its gradient."""

    value: Any
    logs: Any
    moments: Any


def gradient(run: Callable, params: Any, stats: Any, batch: Batch, key: jax.Array, parts: int) -> tuple[Found, Any, Any]:
    """(what the loss says, the new statistics, the gradient) of sum(value weight) / sum(weight) + mean of the sown terms.

    `run` is (params, stats, part, key) -> (Loss, what was sown), and `parts` the number of micro-batches, one after the other in
    memory. The sum of the weights comes first: it follows from the batch alone, so that XLA computes nothing else for it.
    Statistics of the batch (BatchNorm, contrastive negatives) are those of a micro-batch.
    """

    def scaled(params: Any, stats: Any, part: Batch, key: jax.Array, share: Any) -> tuple[jax.Array, tuple[Found, Any]]:
        out, sown = run(params, stats, part, key)
        terms, moments = auxiliary(sown.pop("losses", {})), sown.pop(MOMENTS, {})
        if parts > 1:
            out = out._replace(value=out.value * share, logs=jax.tree.map(lambda x: x * share, out.logs))
            terms, moments = jax.tree.map(lambda x: x / parts, (terms, moments))
        value = out.value + sum(terms.values())
        return value, (Found(value, {**out.logs, **terms}, moments), sown)

    differentiate = jax.grad(scaled, has_aux=True)
    if parts == 1:
        grads, (found, stats) = differentiate(params, stats, batch, key, 1.0)
        return found, stats, grads

    def one(carry: Any, xs: Any) -> tuple[Any, None]:
        stats, total = carry
        grads, (found, stats) = differentiate(params, stats, *xs)
        return (stats, jax.tree.map(jnp.add, total, (grads, found))), None

    pieces = (jax.tree.map(functools.partial(cut, parts=parts), dict(batch)), jax.random.split(key, parts))
    weights = jax.lax.map(lambda xs: jax.lax.stop_gradient(jnp.asarray(run(params, stats, *xs)[0].weight)), pieces)
    shares = weights / jnp.where(weights.sum() > 0, weights.sum(), jnp.ones_like(weights[0]))
    first = jax.tree.map(lambda x: x[0], (*pieces, shares))
    grads, (found, _) = jax.eval_shape(differentiate, params, stats, *first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (grads, found))
    (stats, (grads, found)), _ = jax.lax.scan(one, (stats, zeros), (*pieces, shares))
    return found, stats, grads


def cut(x: jax.Array, parts: int) -> jax.Array:
    """Micro-batches along a new leading axis. Every one takes its share from all over the batch, so that each device keeps working
    on its own rows."""
    return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)


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

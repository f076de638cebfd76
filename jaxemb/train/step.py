"""One training step, the same for every objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxemb.ops.ema import ema_update
from jaxemb.ops.tract import MOMENTS, deferred
from jaxemb.train.state import TrainState
from jaxemb.types import Batch

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_step(objective: Any, optim: Any, *, steps: int, ema: tuple[float, float] | None = None, accumulate: int = 1) -> Step:
    """(state, batch) -> (state, metrics), to be jitted with the state donated.

    The average moves after the update, see `momentum_at`.
    """
    tx = optim.make(steps)
    horizon = optim.stretch * steps  # not cut to a whole number, unlike those of lr and decay: as released

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        def loss(params: Any, stats: Any, part: Batch, key: jax.Array) -> tuple[jax.Array, tuple[tuple[dict, Any], Any]]:
            teacher = {"params": params if state.ema is None else state.ema, **stats}
            targets = jax.lax.stop_gradient(objective.apply(teacher, part, method="targets"))
            mutable = [*stats, "losses", *([MOMENTS] if accumulate > 1 else [])]
            out, new = objective.apply(
                {"params": params, **stats}, part, targets, method="loss", rngs={"dropout": key}, mutable=mutable
            )
            terms, moments = auxiliary(new.pop("losses", {})), new.pop(MOMENTS, {})
            return out.value + sum(terms.values()), (({**out.logs, **terms}, moments), new)

        gradient = over_parts(jax.value_and_grad(loss, has_aux=True), accumulate)
        (value, ((logs, moments), stats)), grads = gradient(
            state.params, state.stats, batch, jax.random.fold_in(state.key, state.step)
        )
        grads = deferred(grads, moments)
        updates, opt = tx.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if ema is not None:
            average = ema_update(state.ema, params, momentum_at(state.step, ema, horizon))
        metrics = {"loss": value, **logs, "lr": optim.lr_at(state.step + 1, steps), "grad_norm": optax.tree.norm(grads)}
        return state.replace(step=state.step + 1, params=params, stats=stats, ema=average, opt=opt), metrics

    return step


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


def over_parts(gradient: Callable, parts: int) -> Callable:
    """The mean of a gradient function over `parts` micro-batches, one after the other in memory.

    For a loss that is a mean over examples this is the gradient of the whole batch; statistics of the batch (BatchNorm,
    contrastive negatives) are those of a micro-batch. The second moment of TrAct is that of the whole batch, since `logs` carries
    the matrices along; with `tract_pieces` > 1 that of each piece of each micro-batch. One for each micro-batch, as where code
    that knows nothing of the other micro-batches accumulates, is `tract_pieces` = parts without accumulation.
    """
    if parts == 1:
        return gradient

    def cut(x: jax.Array) -> jax.Array:
        # Every part takes its share from all over the batch, so that each device keeps working on its own rows.
        return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)

    def accumulated(params: Any, stats: Any, batch: Batch, key: jax.Array) -> Any:
        def one(carry: Any, xs: Any) -> tuple[Any, None]:
            stats, total = carry
            (value, (logs, stats)), grads = gradient(params, stats, *xs)
            return (stats, jax.tree.map(jnp.add, total, (value, logs, grads))), None

        pieces = (jax.tree.map(cut, dict(batch)), jax.random.split(key, parts))
        first = jax.tree.map(lambda x: x[0], pieces)
        (value, (logs, _)), grads = jax.eval_shape(gradient, params, stats, *first)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (value, logs, grads))
        (stats, total), _ = jax.lax.scan(one, (stats, zeros), pieces)
        value, logs, grads = jax.tree.map(lambda x: x / parts, total)
        return (value, (logs, stats)), grads

    return accumulated

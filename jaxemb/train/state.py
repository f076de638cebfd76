"""Everything that a training step carries from one update to the next, and that exact resume needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxemb.ops.dtypes import wide
from jaxemb.train.initialised import initialiser


class TrainState(struct.PyTreeNode):
    """Fields are annotated `Any` on purpose: shaped annotations break tree maps under the jaxtyping import hook."""

    step: Any
    """Updates done so far, int32 scalar."""
    params: Any
    """The trained parameters, nested dicts."""
    stats: Any
    """Other variable collections of the model, e.g. {"batch_stats": ...}; usually {}."""
    ema: Any
    """The exponential moving average of `params` in float32 or better, or None."""
    opt: Any
    """The state of the optimiser."""
    key: Any
    """Random key of the run; the key of a step is `fold_in(key, step)`."""

    def variables(self, weights: str = "ema") -> dict[str, Any]:
        """What `objective.apply` takes; "ema" falls back to the trained parameters where no average is kept."""
        params = self.ema if weights == "ema" and self.ema is not None else self.params
        return {"params": params, **self.stats}


def create(objective: Any, tx: Any, batch: Any, *, seed: int | jax.Array, ema: bool) -> TrainState:
    """A state before the first update. `batch` may be shapes alone under `jax.eval_shape`; run it inside `jax.jit`."""
    key, init, dropout = jax.random.split(jax.random.key(seed), 3)
    variables = dict(initialiser(objective).init({"params": init, "dropout": dropout}, batch))
    params = variables.pop("params", {})
    variables.pop("losses", None)  # sown by init as by every step, never kept
    # The average starts as a copy, of real arrays, because the step donates both. In float32 or better: in bfloat16 it would stand
    # still, since a thousandth of a difference is less than half of its last digit.
    average = jax.tree.map(lambda p: jnp.copy(p.astype(wide(p))), params) if ema else None
    return TrainState(jnp.zeros((), jnp.int32), params, variables, average, tx.init(params), key)


def items_of(state: TrainState) -> dict[str, Any]:
    """A state as the items of a checkpoint; works for arrays, shapes and shardings alike. Empty items are left out."""
    items = {"params": state.params, "ema": state.ema, "stats": state.stats}
    items = {k: v for k, v in items.items() if jax.tree.leaves(v)}
    return items | {"rest": {"opt": state.opt, "key": state.key, "step": state.step}}


def state_of(items: Mapping[str, Any]) -> TrainState:
    """The inverse of `items_of`."""
    return TrainState(params=items.get("params", {}), ema=items.get("ema"), stats=items.get("stats", {}), **items["rest"])

"""Which parameters are stacks over layers: found from how the model runs, not from what its modules are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

from jaxemb.ops.paths import by_path
from jaxemb.train.remembered import remembered


def scanned_paths(objective: Any, batch: Any) -> frozenset[str]:
    """The paths of parameters with a leading axis that `nn.scan` (or `nn.vmap`) gave them: those that have a dimension more in the
    tree than where they are used. `batch` may be arrays, tracers or shapes, of any number of rows."""
    known = _known(objective)
    shapes = tuple((name, x.shape[1:], str(x.dtype)) for name, x in by_path(batch).items())
    if shapes not in known:
        known[shapes] = _scanned_paths(objective, batch)
    return known[shapes]


@remembered
def _known(objective: Any) -> dict[Any, frozenset[str]]:
    """What was found for an objective: a trace of `init` costs a second in a large model."""
    return {}


def _scanned_paths(objective: Any, batch: Any) -> frozenset[str]:
    used: dict[str, int] = {}

    def look(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out, module = call(*args, **kwargs), context.module
        own = {} if module.scope is None else module.variables.get("params", {})  # a part that only computes is bound to nothing
        for name, x in own.items():
            if not isinstance(x, Mapping):
                used["/".join((*module.path, name))] = x.ndim
        return out

    def init(batch: Any) -> Any:
        return objective.init({"params": jax.random.key(0), "dropout": jax.random.key(0)}, batch)

    with nn.intercept_methods(look):
        shapes = jax.eval_shape(init, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch))
    return frozenset(path for path, x in by_path(shapes.get("params", {})).items() if x.ndim > used.get(path, x.ndim))

"""`init` of a module, traced once for everyone who asks: for shapes, for first values, for which parameters are stacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from jaxemb.train.remembered import remembered


class Initialiser(NamedTuple):
    """What a module starts with."""

    init: Any
    """(keys "params" and "dropout", batch) -> variables; inlined where it is called in a function that is traced."""
    used: dict[str, int]
    """How many dimensions each parameter has where it is used, by path; known once `init` was traced."""

    def shapes(self, batch: Any) -> Any:
        """The variables as shapes. `batch` may be arrays, tracers or shapes."""
        keys = {name: jax.random.key(0) for name in ("params", "dropout")}
        return jax.eval_shape(self.init, keys, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch))


@remembered
def initialiser(module: Any) -> Initialiser:
    """The same for modules that are alike: a trace of `init` costs a second in a large model."""
    used: dict[str, int] = {}

    def look(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out, inner = call(*args, **kwargs), context.module
        own = {} if inner.scope is None else inner.variables.get("params", {})  # a part that only computes is bound to nothing
        for name, x in own.items():
            if not isinstance(x, Mapping):
                used["/".join((*inner.path, name))] = x.ndim
        return out

    def init(keys: Any, batch: Any) -> Any:
        with nn.intercept_methods(look):
            return module.init(keys, batch)

    return Initialiser(jax.jit(init, inline=True), used)

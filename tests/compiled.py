"""`apply` and `init` of a module, and a loss, as one function each: eager, every operation compiles by itself, hundreds of them.

What was compiled is kept: a test that replaces something below a module calls the module's own `apply` afterwards.
"""

from functools import partial
from typing import Any

import jax
import numpy as np


def apply(model: Any, *args: Any, **options: Any) -> Any:
    """`model.apply(*args, **options)`; what is no array (`train=True`, `layers=(0, 1)`, `method="loss"`) is a constant."""
    return _split(model, "apply", args, options)


def init(model: Any, *args: Any, **options: Any) -> Any:
    """`model.init(*args, **options)`, likewise."""
    return _split(model, "init", args, options)


def call(f: Any, *args: Any, **options: Any) -> Any:
    """`f(*args, **options)` of a loss, likewise."""
    return _split(f, "__call__", args, options)


def _split(model: Any, name: str, args: Any, options: Any) -> Any:
    leaves, tree = jax.tree.flatten((args, options))
    arrays = {i: x for i, x in enumerate(leaves) if isinstance(x, jax.Array | np.ndarray)}
    return _run(arrays, model, name, tuple(None if i in arrays else x for i, x in enumerate(leaves)), tree)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _run(arrays: dict[int, Any], model: Any, name: str, constants: tuple[Any, ...], tree: Any) -> Any:
    args, options = jax.tree.unflatten(tree, [arrays.get(i, x) for i, x in enumerate(constants)])
    return getattr(model, name)(*args, **options)

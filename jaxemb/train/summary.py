"""What an experiment is made of, in numbers: parameters, shapes, memory, arithmetic. Traces only; nothing is compiled or run."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxemb.ops.flops import flops_of
from jaxemb.ops.paths import parameter_paths
from jaxemb.train.flops import bare, count_step, once_computed, one_device
from jaxemb.train.rules import Meshes
from jaxemb.train.setup import batch_shapes, layout, state_shapes

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


class Parameter(NamedTuple):
    """An array of the parameters, or several of one name in a row of layers."""

    path: str
    """`encoder/block_*/mlp/up/kernel`: the star stands for the layers."""
    copies: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        return self.copies * math.prod(self.shape)


class Summary(NamedTuple):
    """See `summarise`."""

    parameters: list[Parameter]
    shapes: dict[str, tuple[int, ...]]
    """Of the training batch and of what the encoder makes of it, by name."""
    memory: dict[str, int]
    """Bytes of the training state and of a batch, before they are spread over devices."""
    train_flops: float
    """Of one update, forward and backward, all examples: see `ops/flops.py`."""
    encode_flops: float | None
    """Of the embedding of one example."""

    @property
    def count(self) -> int:
        return sum(p.count for p in self.parameters)


def parameters(tree: Any) -> list[Parameter]:
    """The arrays of a parameter tree, layers of one name and shape in one row."""
    rows: dict[tuple, Parameter] = {}
    for path, x in zip(parameter_paths(tree), jax.tree.leaves(tree), strict=True):
        key = (re.sub(r"_\d+(?=/|$)", "_*", path), x.shape, str(x.dtype))
        rows[key] = Parameter(key[0] if key in rows else path, rows[key].copies + 1 if key in rows else 1, x.shape, str(x.dtype))
    return list(rows.values())


def count_parameters(experiment: Experiment) -> int:
    """Of the whole objective, encoder and heads."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(state_shapes(experiment, one_device()).params))


def summarise(experiment: Experiment) -> Summary:
    """Counts from shapes, arithmetic from the jaxpr of the step without rematerialisation."""
    state, batch = state_shapes(experiment, one_device()), batch_shapes(experiment, one_device())
    variables, apply = state.variables(), experiment.objective.apply
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), batch)
    shapes = {path: shape for path, shape, _ in layout(batch)}
    for name in ("features", "encode"):
        out = _try(lambda name=name: jax.eval_shape(lambda v, b: apply(v, b, method=name), variables, batch))
        if out is not None:
            shapes |= {"tokens": out.tokens.shape} if name == "features" else {"embedding": out.shape}
    memory = {"parameters": state.params, "average (EMA)": state.ema, "statistics": state.stats, "optimiser": state.opt}
    embedding = _try(lambda: flops_of(lambda v, b: apply(v, b, method="encode"), bare(variables), one))
    return Summary(
        parameters(state.params),
        shapes,
        {name: size for name, tree in (memory | {"a batch": batch}).items() if (size := nbytes(tree))},
        count_step(once_computed(experiment), batch).count,
        embedding and embedding.count,
    )


def nbytes(tree: Any) -> int:
    """Bytes of the arrays of a tree of shapes."""
    numbers = [x for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in numbers)


def on_device(tree: Any) -> float:
    """Bytes of the largest share that a device has of the arrays of a tree of shapes with their placement."""
    total = 0.0
    for x in jax.tree.leaves(tree):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            continue
        shape = x.shape if getattr(x, "sharding", None) is None else x.sharding.shard_shape(x.shape)
        total += math.prod(shape) * np.dtype(x.dtype).itemsize
    return total


def share(experiment: Experiment, mesh: Meshes) -> float:
    """Bytes on a device of the state: parameters, average, statistics and optimiser."""
    return on_device(state_shapes(experiment, mesh))


def _try(f: Any) -> Any:
    """None where an objective does not define what is asked for."""
    try:
        return f()
    except TypeError:
        return None

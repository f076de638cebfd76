"""What an experiment is made of, in numbers: parameters, shapes, memory, arithmetic. Traces only; nothing is compiled or run."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxemb.config import from_json, to_json
from jaxemb.ops.paths import parameter_paths
from jaxemb.train.optim import Optim
from jaxemb.train.setup import batch_shapes, layout, state_shapes
from jaxemb.train.sharding import make_mesh
from jaxemb.train.step import make_step

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
    train_flops: float | None
    """Of one update, forward and backward, all examples."""
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
    """Counts from shapes; arithmetic from the lowered, unoptimised program of the unrolled model without rematerialisation,
    because a loop body counts only once there."""
    state, batch = state_shapes(experiment, one_device()), batch_shapes(experiment, one_device())
    plain = unrolled(experiment)
    plain_state = state if plain.objective is experiment.objective else state_shapes(plain, one_device())  # a trace takes seconds
    variables, apply = plain_state.variables(), plain.objective.apply
    step = make_step(plain.objective, plain.optim, steps=plain.steps, ema=plain.ema)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), batch)
    shapes = {path: shape for path, shape, _ in layout(batch)}
    for name in ("features", "encode"):
        out = _try(lambda name=name: jax.eval_shape(lambda v, b: apply(v, b, method=name), variables, batch))
        if out is not None:
            shapes |= {"tokens": out.tokens.shape} if name == "features" else {"embedding": out.shape}
    memory = {"parameters": state.params, "average (EMA)": state.ema, "statistics": state.stats, "optimiser": state.opt}
    return Summary(
        parameters(state.params),
        shapes,
        {name: size for name, tree in (memory | {"a batch": batch}).items() if (size := nbytes(tree))},
        _flops(step, plain_state, batch),
        _try(lambda: _flops(lambda v, b: apply(v, b, method="encode"), variables, one)),
    )


def nbytes(tree: Any) -> int:
    """Bytes of the arrays of a tree of shapes."""
    numbers = [x for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in numbers)


def unrolled(experiment: Experiment) -> Experiment:
    """The same model without scans over layers and without rematerialisation; the names of its parameters differ, so what
    goes by their names is left out."""

    def plain(doc: Any) -> Any:
        if isinstance(doc, list):
            return [plain(v) for v in doc]
        if not isinstance(doc, dict):
            return doc
        off = {"scan": False, "remat": None} if "@" in doc else {}
        return {k: off[k] if k in off else plain(v) for k, v in doc.items()}

    if plain(objective := to_json(experiment.objective)) == objective:
        return dataclasses.replace(experiment, accumulate=1)
    doc = plain(to_json(experiment)) | {"sharding": "replicate", "optim": to_json(Optim()), "accumulate": 1}
    return from_json(doc)


def one_device() -> Mesh:
    """Shapes do not depend on the devices that are here."""
    return make_mesh({"data": 1}, jax.local_devices()[:1])


def _flops(f: Any, *shapes: Any) -> float | None:
    cost = jax.jit(f).lower(*shapes).cost_analysis()
    return (cost or {}).get("flops")


def _try(f: Any) -> Any:
    """None where an objective does not define what is asked for."""
    try:
        return f()
    except TypeError:
        return None

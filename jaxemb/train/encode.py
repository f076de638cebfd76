"""From rows on the host to embeddings on the host: what evaluations and users call `encode`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxemb.config import ConfigError
from jaxemb.data.split import Split
from jaxemb.evals.base import Rows
from jaxemb.train.remembered import remembered
from jaxemb.train.sharding import batch_sharding, on_mesh, replicated, row_shards

BATCH = 256
"""Rows of a call on the devices, where the caller has no better number."""
EIGEN = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
"""XLA:CPU gives products to YNNPACK; with this to Eigen, as it did before: MiniLM encodes 5 to 12 % more tokens a second."""


class Encoder:
    """Runs methods of an objective over any number of rows, in batches of one size: compiled once, the last one padded.

    `spec`, where given, says how large a training example is: of examples r times as large a batch holds 1 / r^2 as many, so that
    the attention logits take no more memory.
    """

    def __init__(self, objective: Any, mesh: Mesh, batch: int = BATCH, spec: Mapping[str, Any] | None = None):
        self._shards, self._spec = row_shards(mesh), spec or {}
        self.batch = -(-batch // self._shards) * self._shards
        self._rows, self._whole = batch_sharding(mesh), replicated(mesh)
        self._objective = objective
        self._compiled: dict[tuple[str, str], Callable] = {}

    def bind(self, variables: Any) -> Bound:
        """The model with these variables. They are arguments of the compiled functions, so new ones do not recompile them."""
        return Bound(self, variables)

    def __call__(self, variables: Any, rows: Rows, method: str, role: str = "document") -> Any:
        """What a method of the objective gives for each row."""
        run = self._method(method, role)
        count, size = length(rows), self._batch_of(rows)
        done: list[Any] = []
        ahead = None
        for start in range(0, max(count, 1), size):  # no rows at all: one call, to learn the width
            part = jax.tree.map(lambda x: self._place(x, size), _part(rows, start, start + size))
            running, ahead = ahead, run(variables, part)
            if running is not None:  # fetched while the devices work on the next piece
                done.append(jax.device_get(running))
        done.append(jax.device_get(ahead))
        out = jax.tree.map(lambda *pieces: np.concatenate(pieces)[:count], *done)
        return np.asarray(out, np.float32) if method == "encode" else out

    def _method(self, method: str, role: str) -> Callable:
        if not callable(getattr(self._objective, method, None)):
            raise ConfigError(f"{type(self._objective).__name__} has no {method!r}: this evaluation cannot be run on it")
        if (method, role) not in self._compiled:
            self._compiled[method, role] = compiled(self._objective, method, role, self._whole)
        return self._compiled[method, role]

    def _batch_of(self, rows: Rows) -> int:
        """Rows of a call, a multiple of the devices that share them."""
        known = [(x, self._spec[name]) for name, x in _part(rows, 0, 1).items() if hasattr(self._spec.get(name), "shape")]
        ratio = max([np.prod(x.shape[1:]) / max(np.prod(spec.shape), 1) for x, spec in known], default=1.0)
        return max(int(self.batch / max(ratio, 1.0) ** 2) // self._shards, 1) * self._shards

    def _place(self, x: np.ndarray, size: int) -> jax.Array:
        """Padded with zeros to a whole batch; every process holds all rows and gives its devices theirs."""
        if len(x) < size:
            x = np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))
        return jax.make_array_from_callback(x.shape, self._rows, lambda index: x[index])


def compiled(objective: Any, method: str, role: str, whole: NamedSharding) -> Callable:
    """f(variables, batch): a method of the objective in a role, where it knows roles, whole on every device."""
    asked = inspect.signature(getattr(objective, method)).parameters
    return _whole_method(objective, method, (role,) if "role" in asked else (), whole)


@remembered
def _whole_method(objective: Any, method: str, roles: tuple[str, ...], whole: NamedSharding) -> Callable:
    """Whole on every device: each process can read all rows."""
    run = on_mesh(lambda v, b: objective.apply(v, b, *roles, method=method), cast(Mesh, whole.mesh))
    return jax.jit(run, out_shardings=whole, compiler_options=options(next(iter(whole.device_set)).platform))


@functools.cache
def options(platform: str) -> dict[str, str]:
    """What the compiler is told. The setting is experimental: where XLA does not know it, nothing."""
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=EIGEN).lower(np.float32(0)).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return EIGEN


class Bound:
    """An objective with its variables, as evaluations see it: see `Encodes` and `Scores` in evals/base.py."""

    def __init__(self, encoder: Encoder, variables: Any):
        self._encoder, self._variables = encoder, variables

    def encode(self, rows: Rows, *, role: str = "document", of: str = "encode") -> Any:
        """Embeddings, or what another method gives for each row."""
        return self._encoder(self._variables, rows, of, role)

    def score(self, rows: Rows, *, of: str = "logits") -> Any:
        """What the model's own head says."""
        return self._encoder(self._variables, rows, of)


def length(rows: Rows) -> int:
    """How many rows."""
    return len(rows) if isinstance(rows, Split) else len(next(_leaves(rows)))


def _part(rows: Rows, start: int, stop: int) -> dict[str, Any]:
    """Some of the rows, as arrays; those of a split are read now."""
    return rows[start:stop] if isinstance(rows, Split) else jax.tree.map(lambda x: x[start:stop], dict(rows))


def _leaves(rows: Mapping[str, Any]) -> Iterator[np.ndarray]:
    for x in rows.values():
        if isinstance(x, Mapping):
            yield from _leaves(x)
        else:
            yield x

"""From arrays on the host to embeddings on the host: what evaluations and users call `encode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxemb.config import ConfigError
from jaxemb.train.sharding import batch_sharding, on_mesh, replicated, row_shards

BATCH = 256
"""Rows of a call on the devices, where the caller has no better number."""


class Encoder:
    """Runs a method of an objective over any number of rows, in batches of one size: compiled once, the last one padded.

    `spec`, where given, says how large a training example is: of examples r times as large a batch holds 1 / r^2 as many, so that
    the attention logits take no more memory.
    """

    def __init__(self, objective: Any, mesh: Mesh, batch: int = BATCH, spec: Mapping[str, Any] | None = None):
        self._shards, self._spec = row_shards(mesh), spec or {}
        self.batch = -(-batch // self._shards) * self._shards
        self._rows, self._whole = batch_sharding(mesh), replicated(mesh)
        self._objective, self._mesh = objective, mesh
        self._compiled: dict[str, Callable] = {}

    def bind(self, variables: Any, method: str = "encode") -> Bound:
        """`encode` with these variables. They are arguments of the compiled function, so new ones do not recompile it.

        `method` "features" gives token features in place of embeddings; `encode.of("logits")` is another way to ask for it.
        """
        if not callable(getattr(self._objective, method, None)):
            raise ConfigError(f"{type(self._objective).__name__} has no {method!r}: this evaluation cannot be run on it")
        if method not in self._compiled:
            # Whole on every device: each process can read all rows.
            self._compiled[method] = jax.jit(
                on_mesh(lambda v, b: self._objective.apply(v, b, method=method), self._mesh), out_shardings=self._whole
            )
        run = self._compiled[method]

        def encode(arrays: Mapping[str, np.ndarray]) -> Any:
            count, size = len(next(iter(arrays.values()))), self._batch_of(arrays)
            done: list[Any] = []
            ahead = None
            for start in range(0, max(count, 1), size):  # no rows at all: one call, to learn the width
                part = {name: self._place(x[start : start + size], size) for name, x in arrays.items()}
                running, ahead = ahead, run(variables, part)
                if running is not None:  # fetched while the devices work on the next piece
                    done.append(jax.device_get(running))
            done.append(jax.device_get(ahead))
            out = jax.tree.map(lambda *pieces: np.concatenate(pieces)[:count], *done)
            return np.asarray(out, np.float32) if method == "encode" else out

        return Bound(encode, lambda other: self.bind(variables, other))

    def _batch_of(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Rows of a call, a multiple of the devices that share them."""
        known = [(x, self._spec[name]) for name, x in arrays.items() if name in self._spec]
        ratio = max([np.prod(x.shape[1:]) / max(np.prod(spec.shape), 1) for x, spec in known], default=1.0)
        return max(int(self.batch / max(ratio, 1.0) ** 2) // self._shards, 1) * self._shards

    def _place(self, x: np.ndarray, size: int) -> jax.Array:
        """Padded with zeros to a whole batch; every process holds all rows and gives its devices theirs."""
        if len(x) < size:
            x = np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1))
        return jax.make_array_from_callback(x.shape, self._rows, lambda index: x[index])


class Bound:
    """A method of an objective with its variables: arrays in, rows out. `of` gives another method with the same variables."""

    def __init__(self, run: Callable[[Mapping[str, np.ndarray]], Any], of: Callable[[str], Bound]):
        self._run, self.of = run, of

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Any:
        return self._run(arrays)


def bind(objective: Any, variables: Any, mesh: Mesh, batch: int = BATCH) -> Bound:
    """`encode` of an objective with these variables, for a single use; `Encoder` is for several."""
    return Encoder(objective, mesh, batch).bind(variables)

"""From arrays on the host to embeddings on the host: what evaluations and users call `encode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxemb.train.sharding import batch_sharding, replicated, row_shards

BATCH = 256
"""Rows of a call on the devices, where the caller has no better number."""


class Encoder:
    """Runs a method of an objective over any number of rows, in batches of one size: compiled once, the last one padded."""

    def __init__(self, objective: Any, mesh: Mesh, batch: int = BATCH):
        shards = row_shards(mesh)
        self.batch = -(-batch // shards) * shards
        self._rows, self._whole = batch_sharding(mesh), replicated(mesh)
        self._objective = objective
        self._compiled: dict[str, Callable] = {}

    def bind(self, variables: Any, method: str = "encode") -> Callable[[Mapping[str, np.ndarray]], Any]:
        """`encode` with these variables. They are arguments of the compiled function, so new ones do not recompile it.

        `method` "features" gives token features in place of embeddings.
        """
        if method not in self._compiled:
            # Whole on every device: each process can read all rows.
            self._compiled[method] = jax.jit(lambda v, b: self._objective.apply(v, b, method=method), out_shardings=self._whole)
        run = self._compiled[method]

        def encode(arrays: Mapping[str, np.ndarray]) -> Any:
            count = len(next(iter(arrays.values())))
            done: list[Any] = []
            ahead = None
            for start in range(0, max(count, 1), self.batch):  # no rows at all: one call, to learn the width
                part = {name: self._place(x[start : start + self.batch]) for name, x in arrays.items()}
                running, ahead = ahead, run(variables, part)
                if running is not None:  # fetched while the devices work on the next piece
                    done.append(jax.device_get(running))
            done.append(jax.device_get(ahead))
            out = jax.tree.map(lambda *pieces: np.concatenate(pieces)[:count], *done)
            return np.asarray(out, np.float32) if method == "encode" else out

        return encode

    def _place(self, x: np.ndarray) -> jax.Array:
        """Padded with zeros to a whole batch; every process holds all rows and gives its devices theirs."""
        if len(x) < self.batch:
            x = np.pad(x, [(0, self.batch - len(x))] + [(0, 0)] * (x.ndim - 1))
        return jax.make_array_from_callback(x.shape, self._rows, lambda index: x[index])


def bind(objective: Any, variables: Any, mesh: Mesh, batch: int = BATCH) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """`encode` of an objective with these variables, for a single use; `Encoder` is for several."""
    return Encoder(objective, mesh, batch).bind(variables)

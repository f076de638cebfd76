"""From arrays on the host to embeddings on the host: what evaluations and users call `encode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxemb.train.sharding import batch_sharding, replicated, row_shards


class Encoder:
    """Runs a method of an objective over any number of rows, in batches of one size: compiled once, the last one padded."""

    def __init__(self, objective: Any, mesh: Mesh, batch: int = 256):
        shards = row_shards(mesh)
        self.batch = -(-batch // shards) * shards
        self._rows, self._all = batch_sharding(mesh), replicated(mesh)
        self._objective = objective
        self._compiled: dict[str, Callable] = {}

    def bind(self, variables: Any, method: str = "encode") -> Callable[[Mapping[str, np.ndarray]], Any]:
        """`encode` with these parameters; they are arguments of the compiled function, so new ones do not recompile it."""
        if method not in self._compiled:
            self._compiled[method] = jax.jit(lambda v, b: self._objective.apply(v, b, method=method), out_shardings=self._all)
        run = self._compiled[method]

        def encode(arrays: Mapping[str, np.ndarray]) -> Any:
            count = len(next(iter(arrays.values())))
            pieces = []
            for start in range(0, count, self.batch):
                part = {k: self._place(v[start : start + self.batch]) for k, v in arrays.items()}
                rows = min(self.batch, count - start)
                pieces.append(jax.tree.map(lambda x, rows=rows: np.asarray(x)[:rows], run(variables, part)))
            out = jax.tree.map(lambda *x: np.concatenate(x), *pieces)
            return out.astype(np.float32) if method == "encode" else out

        return encode

    def _place(self, x: np.ndarray) -> jax.Array:
        """Padded with zeros to a whole batch; every process holds all rows and gives its devices theirs."""
        x = np.pad(x, [(0, self.batch - len(x))] + [(0, 0)] * (x.ndim - 1))
        return jax.make_array_from_callback(x.shape, self._rows, lambda index: x[index])

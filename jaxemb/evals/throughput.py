"""How fast an encoder runs on the devices at hand."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from jaxemb.data.base import Data
from jaxemb.evals.base import Encode, Eval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput(Eval):
    """Examples a second through `encode`, host to host, after one call to compile: the median of `rounds`."""

    examples: int = 1024
    rounds: int = 5

    def run(self, encode: Encode, data: Data, *, seed: int = 0) -> dict[str, float]:
        shapes = {k: (self.examples, *s.shape) for k, s in data.spec.items() if s.dtype.startswith("float")}
        rng = np.random.default_rng(seed)
        arrays = {k: rng.standard_normal(shape, dtype=np.float32) for k, shape in shapes.items()}
        encode(arrays)
        seconds = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            encode(arrays)
            seconds.append(time.perf_counter() - start)
        return {"per_second": self.examples / float(np.median(seconds))}

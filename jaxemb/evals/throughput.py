"""How fast an encoder runs on the devices at hand."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from jaxemb.data.base import Data
from jaxemb.evals.base import Encodes, Eval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput(Eval):
    """Examples a second through `encode`, host to host, after one call to compile: the median of `rounds`."""

    examples: int = 1024
    rounds: int = 5

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        rng = np.random.default_rng(seed)
        arrays = {  # of token ids and labels, zeros: which ones does not matter
            k: rng.standard_normal((self.examples, *s.shape), np.float32)
            if s.dtype.startswith("float")
            else np.zeros((self.examples, *s.shape), s.dtype)
            for k, s in data.spec.items()
        }
        model.encode(arrays)
        seconds = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            model.encode(arrays)
            seconds.append(time.perf_counter() - start)
        return {"per_second": self.examples / float(np.median(seconds))}

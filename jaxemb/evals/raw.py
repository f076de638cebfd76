"""Another evaluation with the inputs themselves in place of embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Encode, Eval
from jaxemb.evals.knn import KNN


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawInputs(Eval):
    """The evaluation `of` on flattened inputs, e.g. pixels: what an encoder has to beat to be worth anything.

    It does not depend on training, so once, at the end, is enough.
    """

    of: Eval = KNN()
    """Whose figures; its own `every` has no meaning here."""

    def run(self, encode: Encode, data: Data, *, seed: int = 0) -> dict[str, float]:
        name = next((k for k, s in data.spec.items() if s.dtype.startswith("float") and s.shape), None)
        if name is None:
            raise ConfigError(f"RawInputs needs an array of numbers, the data hold {', '.join(data.spec)}")

        def flatten(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
            return arrays[name].reshape(len(arrays[name]), -1)

        return self.of.run(flatten, self.of.data or data, seed=seed)

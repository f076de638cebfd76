"""Another evaluation with the inputs themselves in place of embeddings."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data, Split
from jaxemb.evals.base import Encodes, Eval, Rows
from jaxemb.evals.knn import KNN


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawInputs(Eval):
    """The evaluation `of` on flattened inputs, e.g. pixels: what an encoder has to beat to be worth anything.

    It does not depend on training, so once, at the end, is enough.
    """

    of: Eval = KNN()
    """Whose figures; its own `every` has no meaning here."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of.needs is not Encodes:
            raise ConfigError(f"of={type(self.of).__name__}: it asks for a head of the model, and inputs have none")

    def run(self, model: Encodes, data: Data, *, seed: int = 0) -> dict[str, float]:
        name = next((k for k, s in data.spec.items() if s.dtype.startswith("float") and s.shape), None)
        if name is None:
            raise ConfigError(f"RawInputs needs an array of numbers, the data hold {', '.join(data.spec)}")

        return self.of.run(_Flat(name), self.of.data or data, seed=seed)


@dataclasses.dataclass(frozen=True)
class _Flat:
    """Rows as they are."""

    name: str

    def encode(self, rows: Rows, *, role: str = "document", of: str = "encode") -> np.ndarray:
        if of != "encode":
            raise ConfigError(f"RawInputs has inputs alone, and its evaluation asks for the model's {of!r}")
        x = rows.column(self.name) if isinstance(rows, Split) else rows[self.name]
        return x.reshape(len(x), -1)

"""How often the model's own head is right."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxemb.config import ConfigError, suggest
from jaxemb.data.base import Data
from jaxemb.evals.base import Encode, Eval, ask
from jaxemb.evals.labels import NoLabels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(Eval):
    """`top1` is the share of test rows whose highest logit is their class: of a trained classifier, nothing is fitted here.

    Of a head for one label; ties go to the lower class number.
    """

    label: str = "labels"
    test: int = 2_000
    """Test rows at most, drawn with the seed."""

    def run(self, encode: Encode, data: Data, *, seed: int = 0) -> dict[str, float]:
        test = data.split("test").sample(self.test, seed=seed)[:]
        if self.label not in test:
            raise ConfigError(f"label={self.label!r} is not in the data{suggest(self.label, test)}")
        labels = test[self.label]
        if (labels < 0).all():
            raise NoLabels(f"the data have no classes under {self.label!r}; drop this evaluation")
        logits = finite(ask(encode, "logits")(test), "logits")
        if logits.ndim != 2 or logits.shape[1] <= labels.max():
            raise ConfigError(f"{self.label!r} has classes up to {labels.max()}, the head gives logits of shape {logits.shape[1:]}")
        return {"top1": float((logits.argmax(1) == labels).mean())}


def finite(x: np.ndarray, what: str) -> np.ndarray:
    """`x` in float32; an error where it holds NaN or infinity: whatever is computed from that would look like a measurement."""
    x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        raise ConfigError(f"the {what} are not finite: training diverged, or the model cannot take inputs of this size")
    return x

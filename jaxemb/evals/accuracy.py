"""How often the model's own head is right."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.evals.base import Eval, Scores, rows_of
from jaxemb.evals.labels import NoLabels, labels_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy(Eval):
    """`top1` is the share of test rows whose highest logit is their class: of a trained classifier, nothing is fitted here.

    Of a head for one label; ties go to the lower class number.
    """

    needs: ClassVar[type] = Scores

    label: str = "labels"
    """Rows labelled -1 are left out."""
    test: int = 2_000
    """Rows at most, drawn with the seed."""

    def run(self, model: Scores, data: Data, *, seed: int = 0) -> dict[str, float]:
        test = rows_of(data, self.split, self.test, seed)
        labels = labels_of(test, self.label)
        known = labels >= 0
        if not known.any():
            raise NoLabels(f"the data have no classes under {self.label!r}; drop this evaluation")
        logits = finite(model.score(test, of="logits"), "logits")
        if logits.ndim != 2 or logits.shape[1] <= labels.max():
            raise ConfigError(f"{self.label!r} has classes up to {labels.max()}, the head gives logits of shape {logits.shape[1:]}")
        return {"top1": float((logits.argmax(1) == labels)[known].mean())}


def finite(x: np.ndarray, what: str) -> np.ndarray:
    """`x` in float32; an error where it holds NaN or infinity: whatever is computed from that would look like a measurement."""
    x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        raise ConfigError(f"the {what} are not finite: training diverged, or the model cannot take inputs of this size")
    return x

"""Whether the similarity of two texts tells that they belong together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxemb.config import choices
from jaxemb.data.base import Data, DataError
from jaxemb.evals.base import Eval
from jaxemb.evals.sts import read_pairs
from jaxemb.evals.texts import Model, embeddings, pairwise, similarity_of
from jaxemb.metrics import pairs
from jaxemb.ops.closeness import SIMILARITIES

COLUMNS = ("sentence1", "sentence2", "label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairClassification(Eval):
    """`ap`, the average precision of the similarity of pairs labelled 1 (they belong together) or 0; `auc`; the best `accuracy` and
    `f1` that a cut reaches, each with its `..._threshold`: found on the very same pairs, as is usual, so too good by a little."""

    path: str
    """A .csv, .tsv or .jsonl file."""
    columns: tuple[str, str, str] | None = None
    """Two texts and the label, by the header of the file. None: a CSV or TSV without a header has them first, in this order; JSON
    lines name them "sentence1", "sentence2" and "label"."""
    similarity: str | None = None
    """"cosine", "dot", "euclidean" or "manhattan"; None: the model's own, the cosine where it has none."""
    prompt: str | None = None
    """Before each text; None: the model's own default prompt, "": none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, similarity=(None, *SIMILARITIES))

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        first, second, given = read_pairs(self.path, self.columns, COLUMNS)
        labels = given.astype(np.int64)
        if wrong := [x for x in given if x not in (0, 1)]:
            raise DataError(f"{self.path}: labels are 0 or 1, not {wrong[0]:g}")
        if labels.all() or not labels.any():
            raise DataError(f"{self.path}: all {len(labels)} pairs have the label {labels[0]}: there is nothing to tell apart")
        z = embeddings(model, data, [*first, *second], prompt=self.prompt)
        scores = pairwise(z[: len(labels)], z[len(labels) :], similarity_of(model, self.similarity))
        accuracy, f1 = pairs.best_accuracy(scores, labels), pairs.best_f1(scores, labels)
        return {
            "ap": pairs.average_precision(scores, labels),
            "auc": pairs.auc(scores, labels),
            "accuracy": accuracy.value,
            "accuracy_threshold": accuracy.threshold,
            "f1": f1.value,
            "f1_threshold": f1.threshold,
            "precision": f1.precision,
            "recall": f1.recall,
            "pairs": float(len(labels)),
        }

    def conditions(self, model: Any = None) -> dict[str, Any]:
        return {"similarity": similarity_of(model, self.similarity), "ties": "equal scores stand on one side of a cut"}

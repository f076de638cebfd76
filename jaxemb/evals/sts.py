"""Whether two sentences that mean the same have the same vector."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from jaxemb.data.base import Data, DataError
from jaxemb.data.records import number_of, read_rows, text_of
from jaxemb.evals.base import Eval
from jaxemb.evals.texts import Model, embeddings, pairwise
from jaxemb.metrics.correlation import pearson, spearman
from jaxemb.types import Paper

COLUMNS = ("sentence1", "sentence2", "score")


@dataclasses.dataclass(frozen=True, kw_only=True)
class STS(Eval):
    """Semantic textual similarity: correlation of people's scores of sentence pairs with the cosine (`spearman`, `pearson`) and the
    product (`dot_spearman`, `dot_pearson`) of their vectors, or with MaxSim
    where a text has a vector a token. `spearman`, over ranks that ties share, is the usual figure."""

    paper: ClassVar[Paper | None] = Paper(
        "SemEval-2017 task 1: semantic textual similarity", 2017, "https://arxiv.org/abs/1708.00055"
    )

    path: str
    """A .csv, .tsv or .jsonl file."""
    columns: tuple[str, str, str] | None = None
    """Two sentences and the score, by the header of the file. None: a CSV or TSV without a header has them first, in this order;
    JSON lines name them "sentence1", "sentence2" and "score"."""
    prompt: str | None = None
    """Before each sentence; None: the model's own default prompt, "": none."""

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        first, second, gold = read_pairs(self.path, self.columns, COLUMNS)
        z = embeddings(model, data, [*first, *second], prompt=self.prompt)
        figures = {}
        for name, similarity in (("", "cosine"), ("dot_", "dot")):
            scores = pairwise(z[: len(gold)], z[len(gold) :], similarity)
            figures |= {f"{name}spearman": known(spearman(gold, scores)), f"{name}pearson": known(pearson(gold, scores))}
        return figures | {"pairs": float(len(gold))}

    def conditions(self, model: Any = None) -> dict[str, Any]:
        return {"ties": "ranks are shared: the mean of their places"}


def read_pairs(
    path: str, columns: tuple[str, str, str] | None, names: tuple[str, str, str]
) -> tuple[list[str], list[str], np.ndarray]:
    """Two texts a row and a number."""
    a, b, score = columns or names
    rows = [
        (text_of(row, a, where), text_of(row, b, where), number_of(row, score, where))
        for where, row in read_rows(path, (a, b, score), header=columns is not None)
    ]
    if len(rows) < 2:
        raise DataError(f"{path} holds {len(rows)} pairs; at least 2 are needed")
    first, second, numbers = zip(*rows, strict=True)
    return list(first), list(second), np.asarray(numbers, np.float64)


def known(correlation: float) -> float:
    """0 where nothing varies: vectors that are all alike order no pairs."""
    return 0.0 if np.isnan(correlation) else correlation

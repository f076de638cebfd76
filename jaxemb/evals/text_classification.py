"""Whether a probe on embeddings tells the class of a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec, BatchIterator, Data, DataError, Spec, Split
from jaxemb.evals.base import Eval, Rows
from jaxemb.evals.clustering import read_labelled
from jaxemb.evals.labels import Labelled
from jaxemb.evals.probe import Logistic
from jaxemb.evals.texts import Model, embed
from jaxemb.preprocess.base import Preprocess
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextClassification(Eval):
    """The figures of a probe (`Logistic`, `Ridge`, `FewShot`, `KNN`) that learns the labels of the texts of `train_path`, on those
    of `path`. Both are .csv, .tsv or .jsonl files."""

    paper: ClassVar[Paper | None] = Paper("MTEB: massive text embedding benchmark", 2022, "https://arxiv.org/abs/2210.07316")

    path: str
    train_path: str
    columns: tuple[str, str] | None = None
    """Text and label, by the header of the files. None: a CSV or TSV without a header has them first, in this order; JSON lines
    name them "text" and "label"."""
    of: Eval = Logistic()
    """The probe; its own `every`, `split` and `label` have no meaning here."""
    prompt: str | None = None
    """Before each text; None: the model's own default prompt, "": none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Labelled):
            raise ConfigError(f"TextClassification.of must learn labels, as Logistic and Ridge do, not {type(self.of).__name__}")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        splits = {name: read_labelled(path, self.columns) for name, path in (("train", self.train_path), ("test", self.path))}
        known = {label: i for i, label in enumerate(splits["train"][2])}
        if strange := [name for name in splits["test"][2] if name not in known]:
            raise DataError(f"{self.path}: no text of {self.train_path} has the label {strange[0]!r}")
        z = embed(model, data, [*splits["train"][0], *splits["test"][0]], prompt=self.prompt)
        middle = len(splits["train"][0])
        labels = {name: np.array([known[label] for label in names], np.int32)[y] for name, (_, y, names) in splits.items()}
        rows = {"train": {"x": z[:middle], "labels": labels["train"]}, "test": {"x": z[middle:], "labels": labels["test"]}}
        probe = dataclasses.replace(self.of, split="test", label="labels")  # pyright: ignore[reportCallIssue]
        return probe.run(_Embedded(), _Splits(rows), seed=seed)


class _Embedded:
    """The rows are embeddings already."""

    def encode(self, rows: Rows, *, role: str = "document", of: str = "encode") -> np.ndarray:
        return rows.column("x") if isinstance(rows, Split) else rows["x"]


@dataclasses.dataclass(frozen=True)
class _Splits(Data):
    """As much of a data set as a probe asks for."""

    rows: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def preprocess(self) -> Preprocess:
        raise DataError("embeddings are preprocessed")

    @property
    def spec(self) -> Spec:
        return {name: ArraySpec(x.shape[1:], str(x.dtype)) for name, x in self.rows["train"].items()}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> BatchIterator:
        raise DataError("embeddings are not trained on")

    def split(self, name: str) -> Split:
        arrays = self.rows[name]
        return Split(lambda ids: {key: x[ids] for key, x in arrays.items()}, len(arrays["labels"]))

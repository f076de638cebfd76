"""Whether texts of one topic lie together."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data, DataError
from jaxemb.data.records import read_rows, text_of
from jaxemb.evals.base import Eval
from jaxemb.evals.texts import Model, embed
from jaxemb.metrics.clusters import agreement
from jaxemb.types import Paper

COLUMNS = ("text", "label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clustering(Eval):
    """`v_measure` of mini-batch k-means (batches of 512, as many clusters as labels, as mteb has it) with the labels: the mean over
    `draws` of at most `texts` texts, and its deviation `spread`; `homogeneity`, `completeness`, `ari` and `nmi` likewise."""

    paper: ClassVar[Paper | None] = Paper("MTEB: massive text embedding benchmark", 2022, "https://arxiv.org/abs/2210.07316")

    path: str
    """A .csv, .tsv or .jsonl file."""
    columns: tuple[str, str] | None = None
    """Text and label, by the header of the file. None: a CSV or TSV without a header has them first, in this order; JSON lines name
    them "text" and "label"."""
    draws: int = 10
    texts: int = 2048
    prompt: str | None = None
    """Before each text; None: the model's own default prompt, "": none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts < 2:
            raise ConfigError(f"Clustering.texts must be at least 2, is {self.texts}")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        texts, labels, _ = read_labelled(self.path, self.columns)
        z = embed(model, data, texts, prompt=self.prompt)
        found = []
        for draw in range(self.draws):
            rng = np.random.default_rng([seed, draw])
            rows = rng.choice(len(z), min(self.texts, len(z)), replace=False)
            found.append(agreement(labels[rows], k_means(z[rows], len(np.unique(labels[rows])), int(rng.integers(2**31)))))
        mean = np.mean(found, axis=0)
        names = ("homogeneity", "completeness", "v_measure", "ari", "nmi")
        spread = float(np.std([f.v_measure for f in found]))
        return {name: float(mean[f]) for f, name in enumerate(names)} | {"spread": spread, "texts": float(len(z))}


def k_means(z: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """The cluster of each row."""
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(clusters, batch_size=512, n_init="auto", random_state=seed).fit_predict(z)


def read_labelled(path: str, columns: tuple[str, str] | None) -> tuple[list[str], np.ndarray, list[str]]:
    """(texts, number of the label of each, names of the labels in their order)."""
    text, label = columns or COLUMNS
    texts, named = [], []
    for where, row in read_rows(path, (text, label), header=columns is not None):
        texts.append(text_of(row, text, where))
        if not isinstance(row[label], (str, int)):
            raise DataError(f"{where}: {label!r} must be a name or a whole number, not {row[label]!r}")
        named.append(str(row[label]))
    names, numbers = np.unique(np.asarray(named, str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{path} holds {len(texts)} texts of {len(names)} labels; at least 2 labels are needed")
    return texts, numbers.reshape(-1).astype(np.int64), [str(name) for name in names]

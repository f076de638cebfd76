"""How well a fact in a long text is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxemb import files
from jaxemb.config import ConfigError
from jaxemb.data.base import Data, DataError
from jaxemb.data.haystack import first, needle, passkey
from jaxemb.data.long_embed import SYNTHETIC, TASKS, read_long_embed
from jaxemb.evals.base import Eval
from jaxemb.evals.retrieval import TIES, ranked
from jaxemb.evals.texts import Model, all_scores, embeddings, similarity_of
from jaxemb.metrics import ranking
from jaxemb.types import Paper

PAPER = Paper("LongEmbed: Extending Embedding Models for Long Context Retrieval", 2024, "arxiv.org/abs/2404.12096")
LARGEST = 2**28
"""Bytes of a text that essays are cut from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongEmbed(Eval):
    """The benchmark in its published layout: Acc@1 of passkey and needle at every length and on average, nDCG@10 of the four real
    tasks, and `average` where all six were measured.

    `passkey@4096` is Acc@1 among the documents of this length; of equal scores trec_eval's order decides.
    """

    paper: ClassVar[Paper | None] = PAPER

    path: str
    """A copy of the data set dwzhu/LongEmbed: a folder a task."""
    tasks: tuple[str, ...] = TASKS

    def __post_init__(self) -> None:
        super().__post_init__()
        if wrong := [t for t in self.tasks if t not in TASKS] or ([] if self.tasks else ["none"]):
            raise ConfigError(f"LongEmbed.tasks: {wrong[0]!r} is no task; valid: {', '.join(TASKS)}")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        found: dict[str, float] = {}
        for task in self.tasks:
            figures = {}
            for length, collection in read_long_embed(self.path, task).items():
                documents = embeddings(model, data, collection.documents, role="document")
                queries = embeddings(model, data, collection.queries, role="query")
                r = ranked(collection, queries, documents, 10, similarity=similarity_of(model, None))
                figure = ranking.success(r, 1) if task in SYNTHETIC else ranking.ndcg(r, 10)
                figures[task if length is None else f"{task}@{length}"] = float(figure.mean())
            found |= figures | {task: float(np.mean(list(figures.values())))}
        return found | ({"average": float(np.mean([found[t] for t in TASKS]))} if set(TASKS) <= set(self.tasks) else {})

    def conditions(self, model: Any = None) -> dict[str, Any]:
        return {"similarity": similarity_of(model, None), "ties": TIES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Haystack(Eval):
    """Acc@1 of the passkeys and needles of `jaxemb.data.haystack`, drawn with the seed: `passkey@512` at each length, `passkey` on
    average. Documents of one score share the hit."""

    paper: ClassVar[Paper | None] = PAPER

    lengths: tuple[int, ...] = (256, 512, 1024, 2048, 4096)
    """Of documents, in tokens at .75 words; the paper has 8 192, 16 384 and 32 768 as well."""
    queries: int = 50
    documents: int = 100
    essays: str | None = None
    """A text file that needles are hidden in; None: sentences drawn from a few words."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lengths or min(self.lengths) < 1:
            raise ConfigError(f"Haystack.lengths={self.lengths} must be numbers of tokens of at least 1")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        found: dict[str, float] = {}
        how: dict[str, Any] = {"seed": seed, "queries": self.queries, "documents": self.documents}
        for name, make in (("passkey", passkey), ("needle", needle)):
            figures = {}
            for length in self.lengths:
                hay = make(length, **how) if name == "passkey" else needle(length, text=self._text(), **how)
                documents = embeddings(model, data, hay.documents, role="document")
                queries = embeddings(model, data, hay.queries, role="query")
                scores = all_scores(queries, documents, similarity_of(model, None))
                tolerance = 1e-6 * max(1.0, float(np.abs(scores).max()))  # of sums over tokens, as of a single cosine
                figures[f"{name}@{length}"] = float(first(scores, hay.answers, tolerance).mean())
            found |= figures | {name: float(np.mean(list(figures.values())))}
        return found

    def conditions(self, model: Any = None) -> dict[str, Any]:
        return {"similarity": similarity_of(model, None)}

    def _text(self) -> str | None:
        if self.essays is None:
            return None
        try:
            return files.read_text(Path(self.essays), LARGEST)
        except files.FileError as e:
            raise DataError(str(e)) from e

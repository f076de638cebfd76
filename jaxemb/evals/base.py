"""The family of evaluations: functions of what a model can do. None of them knows the trainer or the model class."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import Data, Split
from jaxemb.data.split import SPLITS
from jaxemb.types import Paper

COUNTS = ("train", "test", "samples", "shots", "draws", "tokens")
"""Fields that are numbers of rows, of tokens or of repetitions in every evaluation."""
Rows = Mapping[str, Any] | Split
"""Examples: arrays with any number of rows, or a split, whose rows are read as they are needed."""


@runtime_checkable
class Encodes(Protocol):
    """Gives a vector a row. Batching, padding of the last batch and the placing on devices happen inside (`train/encode.py`)."""

    def encode(self, rows: Rows, *, role: str = "document", of: str = "encode") -> Any:
        """Embeddings, n d float32; or what another method `of` the model makes of each row: "project", "features"."""
        ...


@runtime_checkable
class Scores(Protocol):
    """Answers by itself, with a head of its own."""

    def score(self, rows: Rows, *, of: str = "logits") -> np.ndarray:
        """ "logits" of classes, or "nll" of tokens: what embeddings alone do not tell."""
        ...


@runtime_checkable
class Searches(Protocol):
    """Finds rows."""

    def search(self, queries: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(scores, ids) of the k best, n k each."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(abc.ABC):
    """A measurement of a model."""

    paper: ClassVar[Paper | None] = None
    needs: ClassVar[type] = Encodes
    """What the model must be able to do: `Encodes`, `Scores` or `Searches`."""

    every: int = -1
    """Steps between two runs during training; -1: only at the end."""
    split: str = "test"
    """What is measured: "test", or "valid" for what a choice is made by (`best` of an experiment), or "train"."""
    data: Data | None = None
    """What to measure on; None: the data of the experiment."""

    def __post_init__(self) -> None:
        choices(self, split=SPLITS)
        for name in COUNTS:
            if (count := getattr(self, name, None)) is not None and count < 1:
                raise ConfigError(f"{type(self).__name__}.{name} must be at least 1, is {count}")

    @abc.abstractmethod
    def run(self, model: Any, data: Data, *, seed: int = 0) -> dict[str, float]:
        """The figures by name, e.g. {"top1": 0.41}. `data` is never None: the caller resolves the default."""

    def conditions(self, model: Any = None) -> dict[str, Any]:
        """What a figure depends on beside the fields, such as how ties are broken; it is written beside the figures.
        `model`: the one that was measured, where it has ways of its own, such as a similarity."""
        return {}


def rows_of(data: Data, split: str, limit: int | None, seed: int) -> Split:
    """At most `limit` rows of a split, drawn with the seed."""
    return data.split(split).sample(limit, seed)

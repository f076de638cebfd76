"""The family of evaluations: functions of `encode`. None of them knows the trainer or the model class."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import Data
from jaxemb.types import Paper

Encode = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Takes arrays with any number of rows, returns one float32 row each (n d). Batching, padding of the last batch and the
placing on devices happen inside (see `train/encode.py`)."""


def ask(encode: Encode, method: str) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Another method of the same model, e.g. the "logits" of its head: for what embeddings alone do not tell."""
    of = getattr(encode, "of", None)
    if of is None:
        raise ConfigError(f"this evaluation needs the model's {method!r}, and was given embeddings alone")
    return of(method)


def rows_of(encode: Encode, method: str) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Embeddings, or what another method of the model makes of each example."""
    return encode if method == "encode" else ask(encode, method)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(abc.ABC):
    """A measurement of an encoder."""

    paper: ClassVar[Paper | None] = None

    every: int = -1
    """Steps between two runs during training; -1: only at the end."""
    data: Data | None = None
    """What to measure on; None: the data of the experiment."""

    @abc.abstractmethod
    def run(self, encode: Encode, data: Data, *, seed: int = 0) -> dict[str, float]:
        """The figures by name, e.g. {"top1": 0.41}. `data` is never None: the caller resolves the default."""

"""The family of data sets: where examples come from and how they become arrays. No JAX here: workers import this."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from jaxemb.types import Paper


class DataError(ValueError):
    """A data set that is missing or broken: says what was looked for, where, and how to get it."""


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape (without the batch axis) and dtype of one array of an example."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@runtime_checkable
class BatchIterator(Protocol):
    """An endless stream of batches whose place can be written down and found again exactly."""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...
    def __next__(self) -> dict[str, np.ndarray]: ...
    def get_state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True)
class Data(abc.ABC):
    """A source of examples. Fields are the whole description: opening files happens in the methods, never in `__init__`.

    Arrays by name: `images` float32 H W c (normalised), `labels` int32 (scalar), further labels under their own names.
    """

    paper: ClassVar[Paper | None] = None

    @property
    @abc.abstractmethod
    def spec(self) -> Mapping[str, ArraySpec]:
        """The arrays of one training example; known without opening a file."""

    @abc.abstractmethod
    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> BatchIterator:
        """Endless shuffled training batches, augmented. `size` is this process's share of the batch; `shard` is
        (process index, process count). The same seed gives the same batches; the iterator can be saved and resumed."""

    @abc.abstractmethod
    def arrays(self, split: str, *, limit: int | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """A whole split ("train" or "test") without augmentation, for evaluation; at most `limit` examples, drawn with `seed`."""

    @abc.abstractmethod
    def preprocess(self, item: Any) -> dict[str, np.ndarray]:
        """One input of a user (an array, a file name) as an example without labels, exactly as `arrays` would give it."""

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        """Names of the classes of a label, empty when there are none."""
        return ()


@dataclasses.dataclass(frozen=True)
class Augment:
    """Changes what training sees; evaluation never sees it."""

    family: ClassVar[str] = "augment"
    paper: ClassVar[Paper | None] = None

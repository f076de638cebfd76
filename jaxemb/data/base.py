"""The family of data sets: where examples come from, splits, the order of training. No JAX here: workers import this."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxemb.data.split import Split
from jaxemb.preprocess.base import ArraySpec, DataError, Preprocess, Spec
from jaxemb.types import Paper

__all__ = ["ArraySpec", "BatchIterator", "Data", "DataError", "Spec", "Split"]


@runtime_checkable
class BatchIterator(Protocol):
    """An endless stream of batches whose place can be written down and found again exactly."""

    def __iter__(self) -> Iterator[dict[str, Any]]: ...
    def __next__(self) -> dict[str, Any]: ...
    def get_state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True)
class Data(abc.ABC):
    """A source of examples. Fields are the whole description: opening files happens in the methods, never in `__init__`.

    Arrays by name: `images` float32 H W c (normalised), `tokens` int32 n, `mask` bool n, `labels` int32 (scalar; -1: not
    labelled), further labels under their own names. Data with two towers nest them: {"query": {...}, "document": {...}}.
    """

    paper: ClassVar[Paper | None] = None

    @property
    @abc.abstractmethod
    def preprocess(self) -> Preprocess:
        """How an input of a user becomes an example without labels, exactly as `split` would give it."""

    def restored(self, assets: Any) -> Data:
        """These data with the state of their preprocessing as a run saved it in its folder `assets`."""
        return self

    @property
    @abc.abstractmethod
    def spec(self) -> Spec:
        """The arrays of one training example; known without opening a file. Of several lengths: the longest."""

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Of every shape that a training batch may have, `spec` last; each is compiled once."""
        return (self.spec,)

    @abc.abstractmethod
    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> BatchIterator:
        """Endless shuffled training batches, augmented. `size` is this process's share of the batch; `shard` is
        (process index, process count). The same seed gives the same batches; the iterator can be saved and resumed."""

    @abc.abstractmethod
    def split(self, name: str) -> Split:
        """The rows of "train", "valid" or "test" without augmentation, for evaluation. No row is in two of them: to choose by
        "valid" leaves "test" unseen. "train" holds what `batches` draws from."""

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        """Names of the classes of a label, empty when there are none."""
        return ()


@dataclasses.dataclass(frozen=True)
class Augment:
    """Changes what training sees; evaluation never sees it."""

    family: ClassVar[str] = "augment"
    paper: ClassVar[Paper | None] = None

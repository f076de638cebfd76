"""The stream of training batches: endless, shuffled, seeded, split over processes, and resumable (Grain underneath).

The stream is one global order of examples: every epoch is a new permutation, and the augmentation of an example depends on
the seed and its place in that order alone. Process p of c takes the places p, p + c, p + 2c, ...; so a global batch holds the same
augmented examples on any number of processes.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from jaxemb.data.augment import ImageAugment
from jaxemb.data.base import DataError
from jaxemb.data.mixing import Mix
from jaxemb.data.split import check_place, check_stream
from jaxemb.preprocess.pixels import fit, normalise

if TYPE_CHECKING:
    from jaxemb.data.image_data import ImageData


Example = dict[str, Any]
"""One example: `images` uint8 H W c of any size, and int32 labels by name."""


SCENES = ("train", "test", "valid")
"""The streams that drawn images come from: their order is the number that goes into the seed."""


@runtime_checkable
class Examples(Protocol):
    """An opened split: examples with random access."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Example: ...
    def rows(self, indices: Sequence[int]) -> list[Example]: ...
    def labels(self, ids: np.ndarray) -> Mapping[str, np.ndarray]:
        """The arrays that can be had without opening an image."""
        ...


class Table:
    """Examples that are in memory as arrays with a leading row axis."""

    def __init__(self, **columns: np.ndarray):
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["images"])

    def __getitem__(self, index: Any) -> Example:
        return {k: v[index] for k, v in self.columns.items()}

    def rows(self, indices: Sequence[int]) -> list[Example]:
        """Several examples."""
        return [self[i] for i in indices]

    def labels(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """All but the images."""
        return {k: v[ids] for k, v in self.columns.items() if k != "images"}


class Kept:
    """Examples read from storage, many at once where that is asked for, and kept in memory up to a budget in bytes."""

    def __init__(
        self,
        read: Callable[[Sequence[int]], list[Example]],
        count: int,
        budget: int,
        labels: Mapping[str, np.ndarray] | None = None,
    ):
        self._read, self._left = read, budget
        self._labels = labels or {}
        self._kept: list[Example | None] = [None] * count

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: Any) -> Example:
        return self.rows([int(index)])[0]

    def rows(self, indices: Sequence[int]) -> list[Example]:
        """Several examples; storage is asked once, for those that are not kept."""
        missing = [i for i in indices if self._kept[i] is None]
        fresh = dict(zip(missing, self._read(missing), strict=True)) if missing else {}
        for i, example in fresh.items():
            if (size := example["images"].nbytes) <= self._left:  # two threads may both count one image: harmless
                self._kept[i], self._left = example, self._left - size
        return [fresh[i] if i in fresh else self._kept[i] for i in indices]  # pyright: ignore[reportReturnType]

    def labels(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Those that are known without reading."""
        return {k: v[ids] for k, v in self._labels.items()}

    def load(self) -> None:
        """Reads ahead everything, if a first sample says that it fits into the budget."""
        sample = self.rows(range(0, len(self), max(1, len(self) // 16)))
        if sum(e["images"].nbytes for e in sample) / len(sample) * len(self) <= self._left:
            with ThreadPoolExecutor(2) as pool:  # decoding releases the interpreter lock
                list(pool.map(lambda start: self.rows(range(start, min(start + 256, len(self)))), range(0, len(self), 256)))


class _Source:
    """Random access for Grain. Travels to worker processes as the description of the data, never as pixels."""

    def __init__(self, data: ImageData):
        self.data = data
        self._open: Examples | None = data.examples("train")
        self.count = len(self._open)
        if isinstance(self._open, Kept) and not data.workers:  # each worker would hold a copy: they read at first use
            self._open.load()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Example:
        if self._open is None:
            self._open = self.data.examples("train")
        return self._open[index]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


@dataclasses.dataclass(frozen=True)
class _Each:
    """The augmentations of one image, then the size of the model."""

    augment: tuple[ImageAugment, ...]
    size: int

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        x = example["images"]
        if not any(a.crops for a in self.augment):
            x = fit(x, self.size)
        for a in self.augment:
            x = a(x, self.size, rng)
        return {**example, "images": x}


@dataclasses.dataclass(frozen=True)
class _Whole:
    """What is done to a whole batch: normalising and mixing."""

    mixes: tuple[Mix, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        batch = {**batch, "images": normalise(batch["images"], self.mean, self.std)}
        return self.mixes[rng.integers(len(self.mixes))](batch, rng) if self.mixes else batch


class Stream:
    """The iterator over batches, with a place that can be written down as JSON."""

    def __init__(self, iterator: Any, facts: Mapping[str, int]):
        self._held, self._facts = [iterator], dict(facts)
        weakref.finalize(self, _close, self._held)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._held[0])
        return {k: np.array(v) for k, v in batch.items()} if self._facts["workers"] else batch  # out of the workers' shared memory

    def get_state(self) -> dict[str, Any]:
        """Where the stream stands, and what that number refers to."""
        return {**self._facts, "place": self._held[0].get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on exactly after the batch that preceded `get_state`; refused where the place would mean something else."""
        check_place(state, self._facts)
        self._held[0].set_state(state["place"])


def _close(held: list) -> None:
    """Ends threads and worker processes; run at exit as well, since Grain cannot do it while the interpreter comes down."""
    held.pop().close()


def stream(data: ImageData, size: int, seed: int, shard: tuple[int, int]) -> Stream:
    """Batches of `size` for process `shard[0]` of `shard[1]`."""
    index, count = shard
    source = _Source(data)
    check_stream(size, seed, shard)
    if size * count > len(source):
        raise DataError(
            f"a batch of {size * count} is larger than the {len(source)} training examples of {data}: lower batch, e.g. "
            f"--set batch={2 ** max(len(source) // 2, 1).bit_length() // 2}"
        )
    import grain

    each = _Each(tuple(a for a in data.augment if isinstance(a, ImageAugment)), data.size)
    whole = _Whole(tuple(a for a in data.augment if isinstance(a, Mix)), *data.statistics)
    order = grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(each)
    batches = order[index::count].batch(size, drop_remainder=True).random_map(whole)
    # Two threads and four batches ahead: Grain's defaults (16 threads, 500 ahead) take the cores from the train step.
    ahead = batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if data.workers:
        _parse_flags()
        ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=data.workers, per_worker_buffer_size=2))
    return Stream(iter(ahead), {"seed": seed, "batch": size * count, "workers": data.workers})


def _parse_flags() -> None:
    """Grain reads absl flags before it starts workers, and fails where no absl application has parsed them."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["jaxemb"])

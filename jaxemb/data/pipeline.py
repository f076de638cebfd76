"""The stream of training batches: endless, shuffled, seeded, split over processes, and resumable (Grain underneath).

The stream is one global order of examples: every epoch is a new permutation (of rows that are read in blocks: as data/order.py
says), and the augmentation of an example depends on the seed and its place in that order alone. Process p of c takes the places p,
p + c, p + 2c, ...; so a global batch holds the same augmented examples on any number of processes, with any number of workers, and
the place in the stream is one number.
"""

from __future__ import annotations

import dataclasses
import math
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxemb.data.augment import ImageAugment
from jaxemb.data.base import DataError
from jaxemb.data.mixing import Mix
from jaxemb.data.order import BlockOrder, Position
from jaxemb.data.split import check_stream, place_of
from jaxemb.preprocess.pixels import fit, normalise

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
        self._kept: dict[int, Example] = {}
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Example:
        return self.rows([int(index)])[0]

    def rows(self, indices: Sequence[int]) -> list[Example]:
        """Several examples; storage is asked once, for those that are not kept."""
        missing = [i for i in indices if i not in self._kept]
        fresh = dict(zip(missing, self._read(missing), strict=True)) if missing else {}
        for i, example in fresh.items():
            if (size := example["images"].nbytes) <= self._left:  # two threads may both count one image: harmless
                self._kept[i], self._left = example, self._left - size
        return [fresh[i] if i in fresh else self._kept[i] for i in indices]

    def labels(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Those that are known without reading."""
        return {k: v[ids] for k, v in self._labels.items()}

    def load(self) -> None:
        """Reads ahead everything, if a first sample says that it fits into the budget."""
        sample = self.rows(range(0, len(self), max(1, len(self) // 16)))
        if sum(e["images"].nbytes for e in sample) / len(sample) * len(self) <= self._left:
            with ThreadPoolExecutor(2) as pool:  # decoding releases the interpreter lock
                list(pool.map(lambda start: self.rows(range(start, min(start + 256, len(self)))), range(0, len(self), 256)))


@runtime_checkable
class Blocked(Protocol):
    """An opened split whose rows are read in blocks: training goes through them in the order of data/order.py."""

    ends: np.ndarray
    """How many rows there are up to the end of each block."""
    lanes: int
    """Blocks that are read at a time."""

    def drawn(self, position: Position, seed: int) -> Example:
        """The row of training at this position of the order."""
        ...

    def keep(self, blocks: int) -> None:
        """How many blocks are to stay in memory."""
        ...


class Source:
    """Random access for Grain. Travels to worker processes as the way to open the data, never as pixels."""

    def __init__(self, open: Callable[[], Any], seed: int, shard: tuple[int, int]):
        self._open, self._seed, self._processes = open, seed, shard[1]
        self._read: Callable[[Any], Example] | None = None
        self.opened = self.ready()
        self.endless = isinstance(self.opened, Blocked)
        self.count = int(self.opened.ends[-1]) if isinstance(self.opened, Blocked) else len(self.opened)
        """Rows of an epoch."""

    def ready(self) -> Any:
        """The opened split."""
        opened = self._open()
        if isinstance(opened, Blocked):
            order, seed = BlockOrder(opened.ends, opened.lanes, self._seed), self._seed
            # A block a lane that this process reads, and the next of two of them.
            opened.keep(opened.lanes // math.gcd(opened.lanes, self._processes) + 2)
            self._read = lambda place: opened.drawn(order[place], seed)
        else:
            self._read = opened.__getitem__
        return opened

    def __len__(self) -> int:
        return ENDLESS if self.endless else self.count

    def __getitem__(self, index: Any) -> Example:
        if self._read is None:
            self.ready()
        assert self._read is not None
        return self._read(index)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None, "_read": None}


@dataclasses.dataclass(frozen=True)
class Each:
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
class Whole:
    """What is done to a whole batch: normalising and mixing."""

    mixes: tuple[Mix, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        batch = {**batch, "images": normalise(batch["images"], self.mean, self.std)}
        return self.mixes[rng.integers(len(self.mixes))](batch, rng) if self.mixes else batch


class Stream:
    """The iterator over batches, with a place that can be written down as JSON."""

    def __init__(self, start: Callable[[int], Iterator], facts: Mapping[str, int], *, copied: bool = False):
        """`start` gives the batches from a place on. `copied`: they lie in memory of another process, which may take it back."""
        self._start, self._facts, self._copied = start, dict(facts), copied
        self._place, self._held = 0, []
        weakref.finalize(self, _close, self._held)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if not self._held:  # not before: what is set to a place would otherwise start threads and processes twice
            self._held.append(self._start(self._place))
        batch = next(self._held[0])
        self._place += 1
        return {k: np.array(v) for k, v in batch.items()} if self._copied else batch

    def get_state(self) -> dict[str, Any]:
        """The number of batches so far, and what that number refers to: the same in every process, whatever its workers."""
        return {**self._facts, "place": self._place}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on exactly after the batch that preceded `get_state`; refused where the place would mean something else."""
        self._place = place_of(state, self._facts)
        _close(self._held)


def _close(held: list) -> None:
    """Ends threads and worker processes; run at exit as well, since Grain cannot do it while the interpreter comes down."""
    while held:
        held.pop().close()


Random = Callable[[Any, np.random.Generator], Any]
ENDLESS = 2**50
"""The length that Grain is told of an order without end."""
THREADS = (2, 16)
"""Fewest and most, where nothing else is said: a quarter of the cores. Grain's 16 would take a small CPU from the train step."""


def stream(
    open: Callable[[], Any],
    size: int,
    seed: int,
    shard: tuple[int, int],
    *,
    name: str,
    workers: int = 0,
    threads: int | None = None,
    each: Random | None = None,
    whole: Random | None = None,
) -> Stream:
    """Batches of `size` for process `shard[0]` of `shard[1]`, of the examples that `open()` gives. `each` changes an example and
    `whole` a batch, with random numbers of their place; `name` is for errors."""
    check_stream(size, seed, shard)
    source = Source(open, seed, shard)
    if size * shard[1] > source.count:
        raise DataError(
            f"a batch of {size * shard[1]} is larger than the {source.count} training examples of {name}: lower batch, e.g. "
            f"--set batch={2 ** max(source.count // 2, 1).bit_length() // 2}"
        )
    if isinstance(source.opened, Kept) and not workers and shard[1] == 1:  # each worker would hold a copy: they read at first use
        source.opened.load()
    facts = {"seed": seed, "batch": size * shard[1]} | ({"rows": source.count} if source.endless else {})

    def start(place: int) -> Iterator:
        import grain

        order = grain.MapDataset.source(source).seed(seed)
        order = order if source.endless else order.shuffle().repeat()
        order = order.random_map(each) if each else order
        batches = order[shard[0] :: shard[1]].batch(size, drop_remainder=True)
        batches = batches.random_map(whole) if whole else batches
        count = threads or min(max(THREADS[0], cores() // 4), THREADS[1])
        # As many batches ahead as keep the threads busy: Grain's 500 would take the cores, and the memory, from the train step.
        ahead = batches[place:].to_iter_dataset(grain.ReadOptions(num_threads=count, prefetch_buffer_size=max(4, count)))
        if workers:
            _parse_flags()
            ahead = ahead.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
        return iter(ahead)

    return Stream(start, facts, copied=bool(workers))


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parse_flags() -> None:
    """Grain reads absl flags before it starts workers, and fails where no absl application has parsed them."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["jaxemb"])

"""Training batches of examples that are drawn rather than stored: endless, fresh, seeded, split over processes, resumable.

Example i is a function of the seed and i alone, and process p of c takes the places p, p + c, p + 2c, ...; so a global batch holds
the same examples on any number of processes, and the place in the stream is one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxemb.data.base import DataError

Draw = Callable[[np.random.Generator], dict[str, Any]]
"""Draws one example: arrays and numpy scalars by name."""
STREAMS = {"batches": 0, "train": 1, "test": 2}
"""`batches` is what training sees; `train` and `test` are the fixed rows of `Data.arrays`."""


class Drawn:
    """The iterator over batches of drawn examples, with a place that can be written down as JSON."""

    def __init__(self, draw: Draw, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)):
        """`size` examples for process `shard[0]` of `shard[1]`."""
        self._index, self._count = shard
        if size < 1 or not 0 <= self._index < self._count:
            raise DataError(f"a batch needs size >= 1 and a shard (process, processes), not size={size}, shard={shard}")
        if not 0 <= seed < 2**32:
            raise DataError(f"seed must lie in [0, 2**32), not {seed}")
        self._draw, self._seed, self._size = draw, seed, size
        self._facts = {"seed": seed, "batch": size * self._count}
        self._place = 0

    def __iter__(self) -> Drawn:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        first = self._place * self._size * self._count + self._index
        self._place += 1
        return rows(self._draw, "batches", self._seed, range(first, first + self._size * self._count, self._count))

    def get_state(self) -> dict[str, Any]:
        """The number of batches so far, and what that number refers to: the same in every process."""
        return {**self._facts, "place": self._place}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on exactly after the batch that preceded `get_state`; refused where the place would mean something else."""
        for name, now in self._facts.items():
            if state.get(name) != now:
                raise DataError(
                    f"the place in the data was saved with {name}={state.get(name)}, but this stream has {name}={now}: "
                    f"set {name} back to go on, or start a new run"
                )
        if not isinstance(state.get("place"), int):
            raise DataError(f"the place in the data was saved by a stream of another kind: {state.get('place')!r} is no number")
        self._place = state["place"]


def rows(draw: Draw, stream: str, seed: int, places: Iterable[int]) -> dict[str, np.ndarray]:
    """The examples of these places of a stream, stacked."""
    examples = [draw(generator(stream, seed, i)) for i in places]
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def generator(stream: str, seed: int, place: int) -> np.random.Generator:
    """The random numbers of one example: no two streams, seeds below 2**32 or places share them."""
    return np.random.default_rng([STREAMS[stream], seed, place])  # not [seed, place]: numpy takes [a, b] and [a, b, 0] for one


def choose(count: int, limit: int | None, seed: int, split: str) -> np.ndarray:
    """Which of `count` rows `Data.arrays` gives: all in order, or at most `limit` of them, drawn with `seed`."""
    if split not in ("train", "test"):
        raise DataError(f"there is no split {split!r}; valid: train, test")
    if limit is None:
        return np.arange(count)
    if limit < 1:
        raise DataError(f"limit={limit}: at least 1, or None for all of the split {split!r}")
    return np.sort(np.random.default_rng(seed).choice(count, min(limit, count), replace=False))

"""Training batches of examples that are drawn rather than stored: endless, fresh, seeded, split over processes, resumable.

Example i is a function of the seed and i alone, and process p of c takes the places p, p + c, p + 2c, ...; so a global batch holds
the same examples on any number of processes, and the place in the stream is one number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxemb.data.split import Split, check_stream, place_of

Draw = Callable[..., dict[str, Any]]
"""Draws one example, arrays and numpy scalars by name, from a generator (and from what was chosen for its batch)."""
STREAMS = {"batches": 0, "train": 1, "test": 2, "valid": 4, "choices": 5}
"""`batches` and `choices` make what training sees; the others are the fixed rows of `Data.split`. 3 is Three Cell's, 6 the
order of texts in shards."""


class Drawn:
    """The iterator over batches of drawn examples, with a place that can be written down as JSON."""

    def __init__(
        self,
        draw: Draw,
        size: int,
        *,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        choose: Callable[[np.random.Generator], Any] | None = None,
    ):
        """`size` examples for process `shard[0]` of `shard[1]`. `choose` draws what all examples of a batch share, on whichever
        process they are: their length."""
        self._index, self._count = shard
        check_stream(size, seed, shard)
        self._draw, self._seed, self._size, self._choose = draw, seed, size, choose
        self._facts = {"seed": seed, "batch": size * self._count}
        self._place = 0

    def __iter__(self) -> Drawn:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        first = self._place * self._size * self._count + self._index
        shared = (self._choose(generator("choices", self._seed, self._place)),) if self._choose else ()
        self._place += 1
        places = range(first, first + self._size * self._count, self._count)
        return rows(lambda rng: self._draw(rng, *shared), "batches", self._seed, places)

    def get_state(self) -> dict[str, Any]:
        """The number of batches so far, and what that number refers to: the same in every process."""
        return {**self._facts, "place": self._place}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on exactly after the batch that preceded `get_state`; refused where the place would mean something else."""
        self._place = place_of(state, self._facts)


def rows(draw: Draw, stream: str, seed: int, places: Iterable[int]) -> dict[str, np.ndarray]:
    """The examples of these places of a stream, stacked."""
    examples = [draw(generator(stream, seed, i)) for i in places]
    return {name: np.stack([e[name] for e in examples]) for name in examples[0]}


def generator(stream: str, seed: int, place: int) -> np.random.Generator:
    """The random numbers of one example: no two streams, seeds below 2**32 or places share them."""
    return np.random.default_rng([STREAMS[stream], seed, place])  # not [seed, place]: numpy takes [a, b] and [a, b, 0] for one


def drawn_split(draw: Draw, name: str, seed: int, count: int) -> Split:
    """The first `count` examples of a stream."""
    return Split(lambda ids: rows(draw, name, seed, ids.tolist()), count)

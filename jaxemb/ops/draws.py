"""Random numbers for the rows of a global batch, the same for a row on any number of processes. In numpy, on the host."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


class Draws:
    """Draws for the rows that this process has of a batch of `count` times the processes.

        number j of the row at place i = mix(mix(s + (i + 1) g) + (j + 1) g),   s from `key`, g = 2^64 / golden ratio (odd)

    with mix the finaliser of SplitMix64 (Steele, Lea & Flood 2014). So they follow from `key`, the row's place in the global batch
    and how many were drawn before, and neither from the number of processes nor from other rows. Process p of c has the places
    p, p + c, p + 2c, ..., as its data have.
    """

    def __init__(self, key: Sequence[int], count: int, shard: tuple[int, int] = (0, 1)):
        """`key`: of the batch, whole numbers from 0, such as (seed, step). `shard`: (process, processes)."""
        index, processes = shard
        self.places = index + processes * np.arange(count)
        """Of the rows, in the global batch."""
        self.shared = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(0,)))
        """The same in every process: for what fixes array shapes, such as sizes."""
        self._seeds = np.random.SeedSequence(key, spawn_key=(1,)).generate_state(2, np.uint64)
        self._total = count * processes
        self._drawn = [0]  # numbers a row so far, in a list that all views of these draws share

    def __len__(self) -> int:
        return len(self.places)

    def random(self, *shape: int) -> np.ndarray:
        """Uniform in [0, 1), float64 (rows, *shape)."""
        return (self._bits(shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """Uniform in low, ..., high - 1, int64 (rows, *shape); for ranges far below 2^53."""
        return low + (self.random(*shape) * (high - low)).astype(np.int64)

    def generators(self) -> Iterator[np.random.Generator]:
        """A generator for each row, for what must go row by row"""
        for place in self.places:
            yield np.random.Generator(np.random.Philox(key=[self._seeds[1], place]))

    def take(self, rows: np.ndarray) -> Draws:
        """The same draws for some of the rows: what is drawn here counts for all."""
        some = copy.copy(self)
        some.places = self.places[rows]
        return some

    def whole(self) -> Draws:
        """The same draws for all rows of the global batch: for what depends on other rows. Costs their time on every process."""
        every = copy.copy(self)
        every.places = np.arange(self._total)
        return every

    def _bits(self, shape: tuple[int, ...]) -> np.ndarray:
        first, count = self._drawn[0], math.prod(shape)
        self._drawn[0] += count
        rows = _mix(self._seeds[:1] + (self.places.astype(np.uint64) + np.uint64(1)) * GAMMA)
        steps = np.arange(first + 1, first + count + 1, dtype=np.uint64) * GAMMA
        return _mix(rows[:, None] + steps[None]).reshape(len(rows), *shape)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

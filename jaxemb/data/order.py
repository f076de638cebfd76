"""The endless order of rows that lie in blocks: shuffled, but so that few blocks are read at a time, and each process its own.

Every epoch: the blocks in a new order, and the rows of each block in a new order, make one line of n rows. It is cut into W equal
lanes, and the places of the epoch go through the lanes in turn: place i is row i div W of lane i mod W. So

    a batch holds rows of W blocks, and W blocks are open at a time, whatever the number of rows
    process p of c, which takes the places p, p + c, p + 2c, ..., reads the lanes p, p + c, ... alone where c divides W: each block
    is read by one process, but for those W - 1 at most that lie across the end of a lane
    place i is a function of the seed and i: a stream is resumed by one number, on any number of processes
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer


class Position(NamedTuple):
    """Where a place lies."""

    epoch: int
    block: int
    row: int
    """Within the block."""


class BlockOrder:
    """`order[place]` for places 0, 1, 2, ... without end."""

    def __init__(self, ends: Integer[np.ndarray, " blocks"], lanes: int, seed: int):
        """`ends`: how many rows there are up to the end of each block; no block is empty."""
        self._ends, self._lanes, self._seed = ends, lanes, seed
        self._starts = np.concatenate([[0], ends[:-1]])
        self.count = int(ends[-1])
        self._line = functools.lru_cache(2)(self._line_of)
        self._within = functools.lru_cache(2 * lanes + 8)(self._rows_of)

    def __getitem__(self, place: int) -> Position:
        epoch, i = divmod(int(place), self.count)
        lane, at = i % self._lanes, i // self._lanes
        whole, rest = divmod(self.count, self._lanes)  # the first `rest` lanes have one row more
        spot = lane * whole + min(lane, rest) + at
        blocks, ends = self._line(epoch)
        nth = int(np.searchsorted(ends, spot, "right"))
        block = int(blocks[nth])
        return Position(epoch, block, int(self._within(epoch, block)[spot - (ends[nth - 1] if nth else 0)]))

    def row(self, place: int) -> int:
        """The number of the row among all."""
        position = self[place]
        return int(self._starts[position.block]) + position.row

    def _line_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        blocks = np.random.default_rng([self._seed, epoch]).permutation(len(self._ends))
        return blocks, np.cumsum((self._ends - self._starts)[blocks])

    def _rows_of(self, epoch: int, block: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch, block + 1]).permutation(int(self._ends[block] - self._starts[block]))


def blocks_of(ids: np.ndarray | range, ends: Integer[np.ndarray, " blocks"]) -> Integer[np.ndarray, " _"]:
    """The ends of the blocks that hold some of these rising rows, counted in those rows."""
    if isinstance(ids, range):
        return ends
    cuts = np.searchsorted(ids, ends)
    return cuts[np.diff(cuts, prepend=0) > 0]

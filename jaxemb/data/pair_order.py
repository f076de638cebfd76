"""The endless order of pairs: every epoch of a task is a new permutation, and a batch holds one task.

Which task batch i is of depends on the seed and i alone, and so do its rows: a stream is resumed by one number, on any number of
processes, and process p of c takes the rows p, p + c, ... of each batch.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from jaxemb.data.base import DataError
from jaxemb.data.order import BlockOrder
from jaxemb.data.split import check_stream, place_of
from jaxemb.data.stream import generator

BLOCK = 1024
"""Batches whose tasks are drawn together."""


@runtime_checkable
class Rows(Protocol):
    """What is drawn from."""

    task: np.ndarray
    partners: bool

    @property
    def digest(self) -> int: ...
    def other_of(self, row: int, rng: np.random.Generator) -> int: ...
    def bucket(self, ids: np.ndarray, partners: np.ndarray | None) -> int: ...
    def rows(self, ids: np.ndarray, partners: np.ndarray | None, bucket: int | None) -> dict[str, Any]: ...


class PairStream:
    """The iterator over training batches of pairs."""

    def __init__(self, table: Rows, size: int, *, seed: int, shard: tuple[int, int], temperature: float = 1.0):
        check_stream(size, seed, shard)
        self._table, self._shard, self._seed = table, shard, seed
        self._global = size * shard[1]
        self._facts, self._pairs = {"seed": seed, "batch": self._global}, table.digest
        self._tasks = TaskOrder(np.bincount(table.task), seed, temperature)
        self._rows = [np.flatnonzero(table.task == g) for g in range(len(self._tasks.sizes))]
        seeds = [int(np.random.SeedSequence([seed, g]).generate_state(1)[0]) for g in range(len(self._rows))]
        self._orders = [
            BlockOrder(np.array([len(rows)]), 1, own) if len(rows) else None for rows, own in zip(self._rows, seeds, strict=True)
        ]
        self._place = 0

    def __iter__(self) -> PairStream:
        return self

    def __next__(self) -> dict[str, Any]:
        place, self._place = self._place, self._place + 1
        task, before = self._tasks[place]
        order = self._orders[task]
        assert order is not None
        first = before * self._global
        ids = np.array([self._rows[task][order.row(i)] for i in range(first, first + self._global)])
        partners = None
        if self._table.partners:
            draws = (generator("batches", self._seed, place * self._global + i) for i in range(self._global))
            partners = np.array([self._table.other_of(int(row), rng) for row, rng in zip(ids, draws, strict=True)])
        bucket = self._table.bucket(ids, partners)  # of the whole batch, so that all processes have the same
        mine = slice(self._shard[0], None, self._shard[1])
        return self._table.rows(ids[mine], None if partners is None else partners[mine], bucket)

    def get_state(self) -> dict[str, Any]:
        """The number of batches so far, and what that number refers to: the same in every process."""
        return {**self._facts, "place": self._place, "pairs": self._pairs}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on exactly after the batch that preceded `get_state`; refused where the place would mean something else."""
        self._place = place_of(state, self._facts)
        if state.get("pairs") != self._pairs:
            raise DataError(
                f"the pairs are no longer those that this run was trained on, there are {len(self._table.task)} rows now: the file "
                "has changed since; put it back to go on, or start a new run (--run DIR)"
            )


class TaskOrder:
    """`order[i]` is (the task of batch i, how many batches before it are of this task)."""

    def __init__(self, sizes: Int[np.ndarray, " tasks"], seed: int, temperature: float):
        """Task g is drawn with a probability in proportion to sizes[g] ^ (1 / temperature)."""
        self.sizes, self._seed = sizes, seed
        weights = np.where(sizes > 0, np.maximum(sizes, 1.0) ** (1 / temperature), 0.0)
        self.shares = weights / weights.sum()
        self._blocks: list[np.ndarray] = []
        self._before = [np.zeros(len(sizes), np.int64)]

    def __getitem__(self, place: int) -> tuple[int, int]:
        block, at = divmod(place, BLOCK)
        while len(self._blocks) <= block:
            rng = generator("choices", self._seed, len(self._blocks))
            self._blocks.append(rng.choice(len(self.sizes), BLOCK, p=self.shares))
            self._before.append(self._before[-1] + np.bincount(self._blocks[-1], minlength=len(self.sizes)))
        tasks = self._blocks[block]
        task = int(tasks[at])
        return task, int(self._before[block][task] + (tasks[:at] == task).sum())

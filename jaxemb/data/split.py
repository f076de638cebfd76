"""A split of a data set: rows with random access, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError

SPLITS = ("train", "valid", "test")
PIECE = 256
"""Rows read at a time where a whole split is gone through."""
Arrays = dict[str, Any]
"""Arrays by name, every one with a leading axis of rows."""


class Split(Sequence):
    """`split[3]` is an example, `split[3:9]` or `split[ids]` arrays with a row each, `split[:]` all of it, in memory."""

    def __init__(
        self,
        read: Callable[[np.ndarray], Mapping[str, Any]],
        rows: int | np.ndarray,
        known: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None,
    ):
        """`read` gives the arrays of the rows with these ids, `known` those that cost nothing to get, such as labels."""
        self._read, self._known = read, known
        self._ids = np.arange(rows) if isinstance(rows, int) else rows

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Arrays:
        if isinstance(index, (int, np.integer)):
            return first(self._arrays(self._ids[np.asarray([index])]))
        return self._arrays(self._ids[index])

    def __iter__(self) -> Iterator[Arrays]:
        return (self[i] for i in range(len(self)))

    def sample(self, limit: int | None, seed: int = 0) -> Split:
        """At most `limit` of the rows, drawn with `seed`, in their order; None: all of them."""
        if limit is None:
            return self
        if limit < 1:
            raise DataError(f"limit={limit}: at least 1, or None for all rows of the split")
        chosen = np.random.default_rng(seed).choice(len(self), min(limit, len(self)), replace=False)
        return Split(self._read, self._ids[np.sort(chosen)], self._known)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arrays."""
        return tuple(self[:1])

    def column(self, name: str) -> np.ndarray:
        """One array of all rows; the others are not kept."""
        known = self._known(self._ids) if self._known else {}
        if name in known:
            return known[name]
        return np.concatenate([self[i : i + PIECE][name] for i in range(0, len(self), PIECE)])

    def _arrays(self, ids: np.ndarray) -> Arrays:
        if len(ids) or not len(self._ids):
            return dict(self._read(ids))
        return none(self._read(self._ids[:1]))  # of the right shapes


def first(arrays: Mapping[str, Any]) -> Arrays:
    """The first row of arrays, which may be nested by tower."""
    return {name: first(x) if isinstance(x, Mapping) else x[0] for name, x in arrays.items()}


def none(arrays: Mapping[str, Any]) -> Arrays:
    """No row of arrays, which may be nested by tower."""
    return {name: none(x) if isinstance(x, Mapping) else x[:0] for name, x in arrays.items()}


def check_split(name: str) -> None:
    """Raises DataError for what is no split."""
    if name not in SPLITS:
        raise DataError(f"there is no split {name!r}; valid: {', '.join(SPLITS)}")


def carve(count: int, share: float) -> dict[str, np.ndarray]:
    """The rows of "train" and "valid" among `count`: floor(share x count) of them, evenly spaced, are held out."""
    # 100 times the float nearest to .29 is 28.999999999999996, and 29 are meant.
    places = np.floor(np.arange(count + 1) * share * (1 + 1e-12))
    held = np.diff(places) > 0
    return {"train": np.flatnonzero(~held), "valid": np.flatnonzero(held)}


def check_stream(size: int, seed: int, shard: tuple[int, int]) -> None:
    """The arguments of `Data.batches`."""
    if size < 1 or not 0 <= shard[0] < shard[1]:
        raise DataError(f"a batch needs size >= 1 and a shard (process, processes), not size={size}, shard={shard}")
    if not 0 <= seed < 2**32:
        raise DataError(f"seed must lie in [0, 2**32), not {seed}")


def check_place(state: Mapping[str, Any], facts: Mapping[str, int]) -> None:
    """Raises DataError for a place that was saved by a stream with other facts, where it means something else."""
    for name, now in facts.items():
        if state.get(name) != now:
            raise DataError(
                f"the place in the data was saved with {name}={state.get(name)}, but this stream has {name}={now}: "
                f"set {name} back to go on, or start a new run"
            )


def place_of(state: Mapping[str, Any], facts: Mapping[str, int]) -> int:
    """The number of batches that a stream with these facts had given."""
    check_place(state, facts)
    if not isinstance(state.get("place"), int):
        raise DataError(f"the place in the data was saved by a stream of another kind: {state.get('place')!r} is no number")
    return state["place"]


def check_share(share: float, test: float | None = None) -> None:
    """`valid_share` of a data set, and `test_share` where it has one."""
    if test is not None and not 0 < test < 1:
        raise ConfigError(f"test_share must lie between 0 and 1, not {test}")
    if not 0 <= share < 1:
        raise ConfigError(f"valid_share must lie in [0, 1), not {share}")


def none_held_out(what: str, share: float) -> DataError:
    """The error of a validation split without rows."""
    return DataError(f"{what}: no row is held out for validation with valid_share={share}; set data.valid_share higher")

"""What is known of rows beside their vectors, for filters: a number, a name or a set of either of each row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError

SETS = (list, tuple, set, frozenset, np.ndarray)


@dataclasses.dataclass(frozen=True)
class Column:
    """The values of one tag."""

    values: Shaped[np.ndarray, " _"]
    """Numbers, or places in `names`; of a row each, of sets one after the other."""
    names: tuple[str, ...] | None = None
    """Rising; None: the values are numbers."""
    starts: Int[np.ndarray, " _"] | None = None
    """Of sets, where that of each row begins in `values`."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.values) if self.starts is None else len(self.starts) - 1

    @property
    def kind(self) -> str:
        """For a person to read."""
        return ("" if self.starts is None else "sets of ") + ("numbers" if self.names is None else "names")

    def between(self, low: Any, high: Any) -> Bool[np.ndarray, " n"]:
        """Which values lie in [low, high], both of them within; None: no bound. Names are ordered by their characters."""
        if self.names is None:
            return np.logical_and(
                True if low is None else self.values >= low,
                np.ones(len(self.values), bool) if high is None else self.values <= high,
            )
        names = np.asarray(self.names, str)
        first = 0 if low is None else np.searchsorted(names, low, "left")
        last = len(names) if high is None else np.searchsorted(names, high, "right")
        return (self.values >= first) & (self.values < last)

    def has(self, inside: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " m"]:
        """Which rows have such a value: their own, or any of their set."""
        if self.starts is None:
            return inside
        count = np.concatenate([[0], np.cumsum(inside)])
        return count[self.starts[1:]] > count[self.starts[:-1]]

    def take(self, rows: Int[np.ndarray, " r"]) -> Column:
        """Some of the rows."""
        if self.starts is None:
            return dataclasses.replace(self, values=self.values[rows])
        sizes = np.diff(self.starts)[rows]
        ends = np.cumsum(sizes)
        inside = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes) + np.repeat(self.starts[:-1][rows], sizes)
        return dataclasses.replace(self, values=self.values[inside], starts=_starts(sizes))

    def given(self) -> list[Any]:
        """As it was given."""
        values = self.values if self.names is None else np.asarray(self.names, object)[self.values]
        return list(values) if self.starts is None else [set(part) for part in np.split(values, self.starts[1:-1])]


Tags = Mapping[str, Column]


def columns(tags: Any, count: int) -> dict[str, Column]:
    """Values of rows by name, {"year": [1999, ...], "language": ["de", ...], "authors": [{"a", "b"}, ...]}, as columns; a matrix of
    bits is a set of the numbers of its columns."""
    if not tags:
        return {}
    if not isinstance(tags, Mapping):
        raise ConfigError(f'tags are values of rows by name, {{"year": [1999, ...]}}, not a {type(tags).__name__}')
    found = {str(name): column(str(name), values) for name, values in tags.items()}
    for name, c in found.items():
        if len(c) != count:
            raise DataError(f"the tag {name!r} has {len(c)} values, and there are {count} rows")
    return found


def column(name: str, values: Any) -> Column:
    """One tag."""
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype == bool:
        return Column(np.nonzero(values)[1].astype(np.int32), None, _starts(values.sum(1)))
    if isinstance(values, Sequence) and not isinstance(values, str) and any(isinstance(v, SETS) for v in values):
        if not all(isinstance(v, SETS) for v in values):
            raise DataError(f"the tag {name!r} has sets and single values: give every row a set")
        sets = [sorted(set(v)) for v in values]
        codes, names = _codes(name, [v for each in sets for v in each])
        return Column(codes, names, _starts(np.array(list(map(len, sets)), np.int64)))
    return Column(*_codes(name, values))


def appended(a: Mapping[str, Column], b: Mapping[str, Column]) -> dict[str, Column]:
    """The rows of b after those of a; both have the same tags."""
    if a.keys() != b.keys():
        raise DataError(
            f"the rows have the tags {', '.join(sorted(a)) or 'none'}, those to be added {', '.join(sorted(b)) or 'none'}"
        )
    if wrong := [name for name in a if a[name].kind != b[name].kind and not _empty(a[name], b[name])]:
        raise DataError(f"the tag {wrong[0]!r} has {a[wrong[0]].kind}, and of the rows to be added {b[wrong[0]].kind}")
    return {name: column(name, [*a[name].given(), *b[name].given()]) for name in a}


def _codes(name: str, values: Any) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """(numbers, None), or (places in the names, the names)."""
    found = np.asarray(values if isinstance(values, np.ndarray) else list(values))
    if found.ndim != 1 or found.dtype.kind not in "biufU":
        raise DataError(
            f"the tag {name!r} has an array of shape {found.shape} and type {found.dtype}: it takes a number or name a row"
        )
    if found.dtype.kind != "U":
        return found, None
    if isinstance(values, Sequence) and not all(isinstance(v, str) for v in values):
        raise DataError(f"the tag {name!r} has names and numbers: give every row one kind")
    names, codes = np.unique(found, return_inverse=True)
    small = np.uint8 if len(names) <= 2**8 else np.uint16 if len(names) <= 2**16 else np.uint32
    return codes.reshape(-1).astype(small), tuple(map(str, names))


def _empty(a: Column, b: Column) -> bool:
    """Whether both are of sets, and those of one have no values, of which it is not known whether they are numbers or names."""
    return a.starts is not None and b.starts is not None and not (len(a.values) and len(b.values))


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

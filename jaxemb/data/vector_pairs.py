"""Pairs of vectors that a model made before: what is trained on them needs neither the model nor what it read."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxemb.config import ConfigError, suggest
from jaxemb.data.base import ArraySpec, Data, DataError, Spec, Split
from jaxemb.data.pair_order import PairStream
from jaxemb.data.split import carve, check_share, check_split, none_held_out
from jaxemb.preprocess.npz import read_array_file
from jaxemb.preprocess.vectors import Vectors, checked

ROLES = ("query", "positive")


@dataclasses.dataclass(frozen=True)
class VectorPairs(Data):
    """An .npz with `query` and `positive` (n d): row i of the one belongs to row i of the other. Perhaps `old_query` and
    `old_positive` (n m): codes that an older binariser made of them, for backward compatible training.

    Arrays: `query` and `positive`, each with `vectors` and with `old_width` also `old`; `query_id`, `positive_id`, equal for equal
    vectors. The last `test_share` of the different queries with all their pairs is for testing, of the rest `valid_share`, evenly
    spaced, for validation.
    """

    path: str
    """The file."""
    width: int = 384
    """Numbers of a vector."""
    _: dataclasses.KW_ONLY
    old_width: int | None = None
    """Numbers of an old code; None: they are not read."""
    valid_share: float = 0.1
    test_share: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.valid_share, self.test_share)
        if self.width < 1 or (self.old_width is not None and self.old_width < 1):
            raise ConfigError(f"VectorPairs: width and old_width must be at least 1, are {self.width} and {self.old_width}")

    @property
    def preprocess(self) -> Vectors:
        return Vectors(width=self.width)

    @property
    def spec(self) -> Spec:
        old = {} if self.old_width is None else {"old": ArraySpec((self.old_width,))}
        roles = {role: {**self.preprocess.spec, **old} for role in ROLES}
        return roles | {f"{role}_id": ArraySpec((), "int32") for role in ROLES}

    def batches(self, size: int, *, seed: int, shard: tuple[int, int] = (0, 1)) -> PairStream:
        return PairStream(self._table("train"), size, seed=seed, shard=shard)

    def split(self, name: str) -> Split:
        table = self._table(name)
        return Split(lambda ids: table.rows(ids), len(table))

    def _table(self, name: str) -> _Table:
        check_split(name)
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise DataError(f"there is no file {self.path!r}; set data.path to an .npz with `query` and `positive`")
        arrays = _load(str(file), file.stat().st_mtime_ns, self.width, self.old_width)
        which = _splits(arrays["query_id"], self.test_share, self.valid_share)[name]
        if not len(which):
            share, value = ("valid_share", self.valid_share) if name == "valid" else ("test_share", self.test_share)
            if name == "valid":
                raise none_held_out(self.path, value)
            raise DataError(f"{self.path}: no pair is left for the split {name!r} with {share}={value}")
        return _Table(arrays, which)


class _Table:
    """The pairs of a split; the order of `PairStream` goes through them."""

    partners = False

    def __init__(self, arrays: dict[str, np.ndarray], which: Int[np.ndarray, " n"]):
        self._arrays, self._which = arrays, which
        self.task = np.zeros(len(which), np.int32)

    def __len__(self) -> int:
        return len(self._which)

    @property
    def digest(self) -> int:
        return functools.reduce(lambda found, role: zlib.crc32(self._arrays[role][self._which].tobytes(), found), ROLES, 0)

    def other_of(self, row: int, rng: np.random.Generator) -> int:
        return -1

    def bucket(self, ids: np.ndarray, partners: np.ndarray | None) -> int:
        return 0

    def rows(self, ids: np.ndarray, partners: np.ndarray | None = None, bucket: int | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {role: {"vectors": self._arrays[role][self._which[ids]]} for role in ROLES}
        for role in ROLES:
            if (old := self._arrays.get(f"old_{role}")) is not None:
                found[role]["old"] = old[self._which[ids]]
        return found | {f"{role}_id": self._arrays[f"{role}_id"][self._which[ids]] for role in ROLES}


def _splits(ids: Int[np.ndarray, " n"], test_share: float, valid_share: float) -> dict[str, np.ndarray]:
    """Rows by split; those of one query are in one."""
    queries = np.unique(ids)
    held = int(len(queries) * test_share * (1 + 1e-12))
    rest, places = queries[: len(queries) - held], carve(len(queries) - held, valid_share)
    found = {name: rest[at] for name, at in places.items()} | {"test": queries[len(queries) - held :]}
    return {name: np.flatnonzero(np.isin(ids, some)) for name, some in found.items()}


@functools.lru_cache(2)
def _load(path: str, changed: int, width: int, old_width: int | None) -> dict[str, np.ndarray]:
    """The arrays of the file; `changed` is its time stamp, so that a new version is read anew."""
    widths = dict.fromkeys(ROLES, width) | ({} if old_width is None else {f"old_{role}": old_width for role in ROLES})
    single, found, there = read_array_file(Path(path), tuple(widths))
    for name in widths:
        if single is not None or name not in found:
            raise DataError(f"{path} has no array {name!r}{suggest(name, there)}")
    arrays = {name: checked(found[name], n, f"{path}: {name}") for name, n in widths.items()}
    if len(sizes := {len(x) for x in arrays.values()}) > 1:
        raise DataError(f"{path}: {', '.join(arrays)} must have as many rows, not {', '.join(map(str, sorted(sizes)))}")
    number: dict[bytes, int] = {}
    for role in ROLES:  # equal vectors have one number, whatever their role
        every = (number.setdefault(row.tobytes(), len(number)) for row in arrays[role])
        arrays[f"{role}_id"] = np.fromiter(every, np.int32, len(arrays[role]))
    return arrays

"""A file of JSON lines as a shard: where lines begin is found once, then any line is read by its number."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from jaxemb.data.records import json_lines
from jaxemb.data.shard_file import Row, ShardFile
from jaxemb.files import is_local, is_regular, printable
from jaxemb.preprocess.base import DataError

RUN = 1024
"""Lines that are a block."""
PIECE = 2**24
"""Bytes that are gone through at a time."""


class JsonLinesFile(ShardFile):
    def __init__(self, path: str, columns: Sequence[str]):
        self.path, self._names = path, tuple(columns)
        if not is_local(path) or not is_regular(path):
            raise DataError(f"{printable(path)} is not a regular file: JSON lines are read from file systems, buckets hold Parquet")
        self._starts = line_starts(path)
        count = len(self._starts) - 1
        if not count:
            raise DataError(f"{printable(path)} has no line")
        self.ends = np.minimum(np.arange(RUN, count + RUN, RUN, dtype=np.int64), count)
        first = self.rows([0])[0]
        self.columns = {name: type(first[name]).__name__ for name in columns}

    def block(self, number: int) -> list[Row]:
        first, end = int(self.ends[number - 1]) if number else 0, int(self.ends[number])
        return self._lines(first, end)

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        return [self._lines(n, n + 1)[0] for n in numbers]

    def _lines(self, first: int, end: int) -> list[Row]:
        try:
            with open(self.path, "rb") as stream:
                stream.seek(int(self._starts[first]))
                content = stream.read(int(self._starts[end] - self._starts[first]))
            lines = content.decode("utf-8-sig").split("\n")[: end - first]  # not at every character that ends a line somewhere
        except OSError as e:
            raise DataError(f"{printable(self.path)} cannot be read: {e.strerror}") from e
        except UnicodeDecodeError as e:
            line = first + content[: e.start].count(b"\n") + 1
            raise DataError(f"{printable(self.path)}, line {line}, is no UTF-8: {e.reason}") from e
        rows = [row for _, row in json_lines(lines, self.path, self._names, first + 1)]
        if len(rows) != end - first:
            raise DataError(f"{printable(self.path)}: there is an empty line among lines {first + 1} to {end}; a line is an object")
        return [{name: row[name] for name in self._names} for row in rows]


def line_starts(path: str) -> np.ndarray:
    """Where each line begins, and the end of the last."""
    found, at = [np.zeros(1, np.int64)], 0
    with open(path, "rb") as stream:
        while piece := stream.read(PIECE):
            found.append(np.flatnonzero(np.frombuffer(piece, np.uint8) == 10) + (at + 1))
            at += len(piece)
    starts = np.concatenate(found)
    size = os.path.getsize(path)
    return starts if starts[-1] == size else np.append(starts, size)

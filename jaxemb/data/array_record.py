"""A file of ArrayRecord: any record by its number, without reading others. Records are tf.train.Example."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxemb.config import suggest
from jaxemb.data.shard_file import Row, ShardFile
from jaxemb.data.tf_example import decode
from jaxemb.files import is_local, is_regular, printable
from jaxemb.preprocess.base import DataError

RUN = 1024
"""Records that are a block: what is packed together."""
OPTIONS = "readahead_buffer_size:0"
"""Records are asked for out of order."""


class ArrayRecordFile(ShardFile):
    def __init__(self, path: str, columns: Sequence[str]):
        self.path, self._names = path, tuple(columns)
        if not is_local(path):
            raise DataError(
                f"{printable(path)}: ArrayRecord is read from file systems: mount the bucket (gcsfuse), or write Parquet"
            )
        if not is_regular(path):
            raise DataError(f"{printable(path)} is not a regular file")
        count = self._reader.num_records() if self._reader.ok() else 0
        if not count:
            raise DataError(f"{printable(path)} is empty, cut off or no ArrayRecord: write it anew")
        self.ends = np.minimum(np.arange(RUN, count + RUN, RUN, dtype=np.int64), count)
        first = self.rows([0])[0]
        self.columns = {name: type(first[name]).__name__ for name in columns}

    @functools.cached_property
    def _reader(self) -> Any:
        """Serves several threads."""
        from array_record.python.array_record_module import ArrayRecordReader

        return ArrayRecordReader(self.path, options=OPTIONS, file_reader_buffer_size=32768)

    def block(self, number: int) -> list[Row]:
        return self.rows(range(int(self.ends[number - 1]) if number else 0, int(self.ends[number])))

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        try:
            records = self._reader.read(list(numbers))
        except Exception as e:  # Riegeli raises RuntimeError, IndexError, ... and does not say which record it was
            raise DataError(f"row {self._broken(numbers)} of {printable(self.path)} cannot be read: {printable(e)}") from e
        return [self._row(record, number) for record, number in zip(records, numbers, strict=True)]

    def _broken(self, numbers: Sequence[int]) -> int:
        for number in numbers:
            try:
                self._reader.read([number])
            except Exception:
                return number
        return numbers[0]

    def _row(self, record: bytes, number: int) -> Row:
        try:
            found = decode(record)
        except (ValueError, KeyError, TypeError) as e:
            raise DataError(f"row {number} of {printable(self.path)} is no tf.train.Example: {e}") from e
        for name in self._names:
            if len(found.get(name, ())) != 1:
                there = f"has {len(found[name])} values in" if name in found else "has no"
                raise DataError(f"row {number} of {printable(self.path)} {there} column {name!r}{suggest(name, found)}")
        return {name: found[name][0] for name in self._names}

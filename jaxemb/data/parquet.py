"""A file of Parquet: a row group is what is read at once. Needs pyarrow (the extra `parquet`).

Few writers add checksums to pages (pyarrow's `write_page_checksum=True`, as `scripts/make_shards.py` does); without them damage
can go unseen. Where there are some they are compared.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxemb.config import suggest
from jaxemb.data.shard_file import Row, ShardFile
from jaxemb.files import is_local, printable
from jaxemb.preprocess.base import DataError

LARGEST = 2**31
"""Bytes of a row group of the columns that are read; writers make a thousandth of it."""


class Group(Sequence):
    """The rows of a row group, as they lie in memory: a row is made when it is asked for."""

    def __init__(self, table: Any):
        self.table = table

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: Any) -> Row:
        return {name: column[int(index)].as_py() for name, column in zip(self.table.column_names, self.table.columns, strict=True)}


class ParquetFile(ShardFile):
    def __init__(self, path: str, columns: Sequence[str]):
        self.path, self._names = path, list(columns)
        self._lock = threading.Lock()  # a reader serves one thread at a time
        self._file = open_parquet(path)
        schema, footer = self._file.schema_arrow, self._file.metadata
        for name in columns:
            if name not in schema.names:
                raise DataError(f"{printable(path)} has no column {name!r}{suggest(name, schema.names)}")
        self.columns = {name: str(schema.field(name).type) for name in columns}
        self.metadata: dict[bytes, bytes] = dict(schema.metadata or {})
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        for i, group in enumerate(groups):
            parts = (group.column(c) for c in range(group.num_columns))
            size = sum(p.total_uncompressed_size for p in parts if p.path_in_schema.split(".")[0] in columns)
            if size > LARGEST:
                raise DataError(
                    f"{printable(path)}: row group {i} has {size / 2**30:.1f} GiB, and a row group is read at once: write the file "
                    "anew with fewer rows a group (row_group_size of pyarrow; scripts/make_shards.py does)"
                )
        self.ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)

    def block(self, number: int) -> Group:
        return Group(self._read(number, self._names))

    def rows(self, numbers: Sequence[int]) -> None:
        return None

    def column(self, name: str) -> list[Any]:
        """One column of all rows."""
        return [v for i in range(len(self.ends)) for v in self._read(i, [name]).column(0).to_pylist()]

    def _read(self, group: int, names: list[str]) -> Any:
        try:
            with self._lock:
                return self._file.read_row_group(group, columns=names)
        except Exception as e:  # Arrow raises OSError, ArrowInvalid, ... of decoders
            rows = f"rows {self.ends[group - 1] if group else 0} to {self.ends[group] - 1}"
            raise DataError(f"row group {group} ({rows}) of {printable(self.path)} cannot be read: {printable(e)}") from e

    def class_names(self, name: str) -> tuple[str, ...]:
        """Those that Hugging Face's datasets wrote beside a column of classes."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(self.metadata[b"huggingface"])["info"]["features"][name]["names"]
            return tuple(map(str, found))
        return ()


def open_parquet(path: str) -> Any:
    """The file of pyarrow, which reads its footer alone."""
    try:
        import pyarrow.parquet as pq
    except ImportError as e:
        raise DataError("Parquet needs pyarrow: pip install 'jaxemb[parquet]', or pip install pyarrow") from e
    try:
        if is_local(path):
            return pq.ParquetFile(path, page_checksum_verification=True)
        from etils import epath

        return pq.ParquetFile(epath.Path(path).open("rb"), page_checksum_verification=True)
    except Exception as e:  # as above
        raise DataError(f"{printable(path)} cannot be read as Parquet: {printable(e)}") from e

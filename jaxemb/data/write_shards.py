"""Shards from what a user has: a folder of images, a file of texts. `scripts/make_shards.py` is its command line.

Rows are written in random order, so that neighbours have nothing in common; files appear under their names when they are whole.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.folder import ImageFolder
from jaxemb.data.records import read_rows, text_of
from jaxemb.data.split import SPLITS
from jaxemb.data.tf_example import encode
from jaxemb.files import printable

FORMATS = ("array_record", "parquet")
GROUP = 2**23
"""Bytes of a row group of Parquet: what is read at once."""
Row = Mapping[str, Any]


class ShardWriter:
    """Writes rows into `shards` files of a split, `train-00000-of-00004.parquet`, a row into each in turn."""

    def __init__(self, folder: Path, split: str, shards: int, form: str = "array_record"):
        if form not in FORMATS:
            raise ConfigError(f"shards are written as {' or '.join(FORMATS)}, not {form!r}")
        folder.mkdir(parents=True, exist_ok=True)
        self.files = [folder / f"{split}-{i:05d}-of-{shards:05d}.{form}" for i in range(shards)]
        if there := [f for f in self.files if f.exists()]:
            raise DataError(f"{printable(there[0])} exists: shards are not written over others; name another folder")
        self._parts = [f.with_name(f".{f.name}.tmp") for f in self.files]
        self._writers: list[Any] = [(_Records if form == "array_record" else _Groups)(part) for part in self._parts]
        self.rows = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for writer in self._writers:
            with contextlib.suppress(Exception) if kind else contextlib.nullcontext():
                writer.close()
        for part, file, writer in zip(self._parts, self.files, self._writers, strict=True):
            if kind or not writer.count:  # an empty file of ArrayRecord cannot be told from a broken one
                part.unlink(missing_ok=True)
            else:
                part.replace(file)

    def write(self, row: Row) -> None:
        self._writers[self.rows % len(self._writers)].write(row)
        self.rows += 1


class _Records:
    """A file of ArrayRecord; each record is compressed alone, so that it is read alone."""

    def __init__(self, path: Path):
        from array_record.python.array_record_module import ArrayRecordWriter

        self.count, self._file = 0, ArrayRecordWriter(str(path), "group_size:1")

    def write(self, row: Row) -> None:
        self._file.write(encode(row))
        self.count += 1

    def close(self) -> None:
        self._file.close()


class _Groups:
    """A file of Parquet, with checksums, in row groups of about `GROUP` bytes."""

    def __init__(self, path: Path):
        self.count, self._path, self._rows, self._bytes, self._file = 0, path, list[Row](), 0, None

    def write(self, row: Row) -> None:
        self._rows.append(row)
        self._bytes += sum(len(v) if isinstance(v, (bytes, str)) else 8 for v in row.values())
        self.count += 1
        if self._bytes >= GROUP:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._file:
            self._file.close()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist([dict(row) for row in self._rows])
        if self._file is None:
            packed = any(isinstance(v, bytes) for v in self._rows[0].values())  # JPEGs: to compress them again gains nothing
            self._file = pq.ParquetWriter(
                self._path,
                table.schema,
                compression="none" if packed else "zstd",
                use_dictionary=False,
                write_statistics=False,  # of images: the least and the greatest one in each header
                write_page_checksum=True,
            )
        self._file.write_table(table, row_group_size=len(self._rows))
        self._rows, self._bytes = [], 0


# ---- images ----------------------------------------------------------------------------------------------------------------------


def write_images(
    data: ImageFolder, folder: Path, *, form: str = "array_record", shard: int = 2**28, seed: int = 0
) -> dict[str, int]:
    """The splits of a folder of images as shards of about `shard` bytes: the bytes of the files as they are, and `label`. Gives the
    number of rows of each split."""
    counts = {}
    listing, root = data._listing, Path(data._root)
    for split in SPLITS:
        found, labels = listing.files[split], listing.labels[split]
        if not found:
            continue
        with ShardWriter(folder, split, -(-sum(f.bytes for f in found) // shard) or 1, form) as writer:
            for i in np.random.default_rng([seed, SPLITS.index(split)]).permutation(len(found)):
                writer.write({"image": (root / found[i].path).read_bytes(), "label": int(labels[i])})
        counts[split] = writer.rows
    if listing.classes:
        (folder / "label.labels.txt").write_text("".join(f"{name}\n" for name in listing.classes))
    return counts


# ---- texts -----------------------------------------------------------------------------------------------------------------------


def write_texts(
    path: str,
    folder: Path,
    *,
    column: str = "text",
    form: str = "array_record",
    shard: int = 2**28,
    test_share: float = 0.01,
    valid_share: float = 0.01,
) -> dict[str, int]:
    """The texts of a file as shards: lines of a .txt that are not empty, or a column of .csv, .tsv or .jsonl. A hash of the text
    says in which split it is, so that copies are never in two. The file is read once, from its beginning to its end; its order is
    kept."""
    shards = -(-Path(path).stat().st_size // shard) or 1 if Path(path).is_file() else 1
    bounds = {"test": test_share, "valid": test_share + valid_share, "train": 1.0}
    with contextlib.ExitStack() as stack:
        writers = {}
        for split in SPLITS:
            few = 1 if split != "train" else shards
            if split == "train" or {"test": test_share, "valid": valid_share}[split] > 0:
                writers[split] = stack.enter_context(ShardWriter(folder, split, few, form))
        for text in _texts(path, column):
            place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
            writers[next(s for s, bound in bounds.items() if place < bound)].write({column: text})
    return {split: writer.rows for split, writer in writers.items()}


def _texts(path: str, column: str) -> Iterator[str]:
    if not path.endswith(".txt"):
        yield from (text_of(row, column, where) for where, row in read_rows(path, [column], header=True))
        return
    try:
        with open(path, encoding="utf-8") as lines:
            yield from _not_empty(lines)
    except OSError as e:
        raise DataError(f"{printable(path)} cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{printable(path)} is no UTF-8: byte {e.start} of a piece: {e.reason}") from e


def _not_empty(lines: Iterable[str]) -> Iterator[str]:
    return (text for line in lines if (text := line.rstrip("\n")).strip())

"""Images in shards larger than memory: encoded bytes and a label a row, in ArrayRecord or Parquet."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.config import ConfigError, within
from jaxemb.data.base import DataError
from jaxemb.data.image_data import ImageData
from jaxemb.data.order import Position, blocks_of
from jaxemb.data.parquet import ParquetFile
from jaxemb.data.pipeline import Example, Examples, Kept
from jaxemb.data.shards import Shards, kind_of, opened, split_files, split_rows, stamp
from jaxemb.data.split import check_share, none_held_out
from jaxemb.files import is_local, is_regular, printable, read_text
from jaxemb.preprocess.encoded import decode

NAMES = ".labels.txt"
"""Behind the name of the column: the file with the names of its classes, one a line, as TensorFlow Datasets writes it."""


@dataclasses.dataclass(frozen=True)
class ImageShards(ImageData):
    """Rows with an encoded image (JPEG, PNG, ...) and a label, in ArrayRecord or Parquet; what is not asked for is never read.

    `path` is a pattern ("photos/train-*.parquet"), or a folder where the names of the files tell their split, as TensorFlow
    Datasets, the Hugging Face hub and `scripts/make_shards.py` write them. Splits without files of their own are carved from the
    training rows, evenly spaced. ArrayRecord (records are tf.train.Example) is read by single records, in one permutation of all
    rows an epoch. Of Parquet a row group is read at once: training mixes the rows of `groups` of them (data/order.py), so write
    rows in random order. Images of Parquet are bytes or, as in Hugging Face's datasets, a struct with `bytes`; it may lie in a
    bucket (`gs://`).
    """

    path: str
    """A pattern of the training shards, or a folder."""
    _: dataclasses.KW_ONLY
    image: str = "image"
    """The column of encoded images."""
    label: str | None = "label"
    """The column of whole numbers that becomes `labels`; None: all are -1."""
    test_path: str | None = None
    """A pattern of the test shards; None: those of the folder, else `test_share` of the training rows."""
    valid_path: str | None = None
    """As `test_path`."""
    test_share: float = 0.1
    valid_share: float = 0.1
    """Of the training rows without those for testing."""
    groups: int = 16
    """Row groups of Parquet that are open at a time: a multiple of the processes lets each read its own alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, groups=(1, 4096))
        if self.channels not in (1, 3):
            raise ConfigError(
                f"encoded images give 1 or 3 channels, not channels={self.channels}; for others use an .npz (data/arrays.py)"
            )
        check_share(self.valid_share, self.test_share)

    def examples(self, split: str) -> Examples:
        files = split_files(self.path, self.test_path, self.valid_path)
        own, given = files[split] or files["train"], frozenset(name for name in files if files[name])
        shares = {"test": self.test_share, "valid": self.valid_share}
        what = _Columns(self.image, self.label, self.channels, self.size)
        found = _open(own, tuple(map(stamp, own)), given, split, tuple(shares.items()), what, self.memory, self.groups)
        if not len(found):
            if split == "valid":
                raise none_held_out(self.path, self.valid_share)
            raise DataError(f"{printable(self.path)}: too few rows to hold out any with test_share={self.test_share}")
        return found

    def label_names(self, label: str = "labels") -> tuple[str, ...]:
        if label != "labels" or self.label is None:
            return ()
        file = split_files(self.path, self.test_path, self.valid_path)["train"][0]
        names = Path(file).parent / f"{self.label}{NAMES}"
        if is_local(file) and is_regular(names):
            return tuple(read_text(names).splitlines())
        first = opened([file], [self.image, self.label]).files[0]
        return first.class_names(self.label) if isinstance(first, ParquetFile) else ()


@functools.lru_cache(6)
def _open(
    files: tuple[str, ...],
    stamps: tuple[tuple[int, int], ...],
    given: frozenset[str],
    split: str,
    shares: tuple[tuple[str, float], ...],
    what: _Columns,
    memory: int,
    groups: int,
) -> Examples:
    shards = opened(files, what.names)
    ids = split_rows(split, len(shards), given, dict(shares))
    rows = ShardRows(shards, ids, what, groups)
    if kind_of(files[0]) == "parquet":
        return rows
    return Kept(rows.rows, len(ids), memory * 2**20, {} if what.label else rows.labels(np.arange(len(ids))))


@dataclasses.dataclass(frozen=True)
class _Columns:
    """What is read of a row, and how."""

    image: str
    label: str | None
    channels: int
    size: int

    @property
    def names(self) -> tuple[str, ...]:
        return (self.image, self.label) if self.label else (self.image,)

    def example(self, row: Mapping[str, Any], where: str) -> Example:
        image = row[self.image]
        image = image.get("bytes") if isinstance(image, Mapping) else image  # of Hugging Face's datasets
        if not isinstance(image, bytes):
            raise DataError(f"{where}: {self.image!r} must be an encoded image, bytes, not {printable(repr(image))}")
        pixels = decode(image, self.channels, self.size, f"the image in {where}")
        if pixels is None:
            raise DataError(f"{where}: the image is damaged, or in a format that OpenCV does not read")
        return {"images": pixels, "labels": np.int32(self.number(row[self.label], where) if self.label else -1)}

    def number(self, label: Any, where: str) -> int:
        if not isinstance(label, int) or isinstance(label, bool) or not -(2**31) <= label < 2**31:
            raise DataError(f"{where}: {self.label!r} must be a whole number of 32 bits, not {printable(repr(label))}")
        return label


class ShardRows:
    """An opened split: its rows by number. Of Parquet also the blocks that training goes through."""

    def __init__(self, shards: Shards, ids: range | np.ndarray, what: _Columns, groups: int):
        self.shards, self.lanes = shards, groups
        self._ids, self._what = ids, what
        self.ends = blocks_of(ids, shards.ends)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Example:
        return self.rows([int(index)])[0]

    def rows(self, indices: Sequence[int]) -> list[Example]:
        """Several examples."""
        ids = [int(self._ids[i]) for i in indices]
        found = self.shards.rows(ids)
        return [self._what.example(row, self.shards.where(i)) for i, row in zip(ids, found, strict=True)]

    def labels(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Of Parquet, which reads a column alone, or where there are none."""
        known = self._labels
        return {} if known is None else {"labels": known[ids]}

    @functools.cached_property
    def _labels(self) -> np.ndarray | None:
        name = self._what.label
        if name is None:
            return np.full(len(self._ids), -1, np.int32)
        found = [(f.path, f.column(name)) for f in self.shards.files if isinstance(f, ParquetFile)]
        if not found:
            return None
        numbers = [self._what.number(v, f"row {i} of {printable(path)}") for path, column in found for i, v in enumerate(column)]
        return np.array(numbers, np.int32)[np.asarray(self._ids)]

    # ---- training, by blocks -----------------------------------------------------------------------------------------------------

    def drawn(self, position: Position, seed: int) -> Example:
        """The row at this position of the order."""
        return self[(int(self.ends[position.block - 1]) if position.block else 0) + position.row]

    def keep(self, blocks: int) -> None:
        """How many row groups stay in memory."""
        self.shards.recent.most = blocks

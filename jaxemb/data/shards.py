"""Files of rows that are larger than memory: ArrayRecord, Parquet, JSON lines, read by row number and never whole.

A set of shards is a pattern ("photos/train-*.array_record"), or a folder whose files have the name of a split in theirs, as
`scripts/make_shards.py`, TensorFlow Datasets and the Hugging Face hub write them. The order of the rows is that of the sorted
names.
"""

from __future__ import annotations

import functools
import glob
import itertools
import os
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from jaxemb.data.array_record import ArrayRecordFile
from jaxemb.data.json_lines import JsonLinesFile
from jaxemb.data.parquet import ParquetFile
from jaxemb.data.recent import Recent
from jaxemb.data.shard_file import Row, ShardFile
from jaxemb.data.split import carve
from jaxemb.files import is_local, printable
from jaxemb.preprocess.base import DataError

ENDINGS = {".array_record": "array_record", ".parquet": "parquet", ".jsonl": "jsonl"}
NAMES = {"train": ("train", "training"), "test": ("test",), "valid": ("valid", "validation", "val")}
"""Of splits in the names of files."""


class Shards:
    """The rows of several files, one after the other."""

    def __init__(self, files: Sequence[ShardFile], keep: int = 4):
        """`keep`: blocks that stay in memory, where blocks are what is read."""
        self.files = files
        for file in files[1:]:
            if file.columns != files[0].columns:
                name = next(n for n in file.columns if file.columns[n] != files[0].columns[n])
                raise DataError(
                    f"the shards differ: {name!r} is {file.columns[name]} in {printable(file.path)}, "
                    f"but {files[0].columns[name]} in {printable(files[0].path)}"
                )
        counts = np.array([int(f.ends[-1]) if len(f.ends) else 0 for f in files], np.int64)
        self._firsts = np.concatenate([[0], np.cumsum(counts)])
        self.ends = np.concatenate([f.ends + first for f, first in zip(files, self._firsts, strict=False)])
        self._blocks = np.concatenate([[0], np.cumsum([len(f.ends) for f in files])])
        self.recent = Recent(self._read, keep)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def rows(self, ids: Sequence[int] | np.ndarray) -> list[Row]:
        """The rows of these numbers, in this order."""
        found: dict[int, Row] = {}
        places = np.asarray(ids, np.int64)
        files = np.searchsorted(self._firsts, places, "right") - 1
        for f in np.unique(files):
            inside = places[files == f]
            rows = self.files[f].rows((inside - self._firsts[f]).tolist())
            found |= zip(inside.tolist(), rows if rows is not None else map(self._of_block, inside.tolist()), strict=True)
        return [found[int(i)] for i in places]

    def where(self, row: int) -> str:
        """The row, for an error."""
        f = int(np.searchsorted(self._firsts, row, "right")) - 1
        return f"row {row - self._firsts[f]} of {printable(self.files[f].path)}"

    def _of_block(self, row: int) -> Row:
        block = int(np.searchsorted(self.ends, row, "right"))
        return self.recent(block)[row - (int(self.ends[block - 1]) if block else 0)]

    def _read(self, block: int) -> Sequence[Row]:
        f = int(np.searchsorted(self._blocks, block, "right")) - 1
        return self.files[f].block(block - int(self._blocks[f]))


# ---- finding and opening ---------------------------------------------------------------------------------------------------------


def find(path: str, split: str | None, field: str = "path") -> tuple[str, ...]:
    """The files of a pattern. Of a folder those whose names say that they are of this split, perhaps none."""
    if not path:
        raise DataError(f"there are no shards; set data.{field} to a pattern such as 'folder/train-*.parquet', or to a folder")
    place: Any = Path(path).expanduser() if is_local(path) else _remote(path)
    if place.is_dir():
        names = sorted(str(f) for f in place.iterdir() if kind_of(f.name) and not f.name.startswith("."))
        found = tuple(n for n in names if split_of(n) == split)
        if not names or (split == "train" and not found):
            what = f"no file ending in {', '.join(ENDINGS)}" if not names else "no shard whose name says train"
            raise DataError(f"data.{field}: the folder {printable(path)} holds {what}{_shown(place)}")
        return found
    found = tuple(sorted(glob.glob(str(place)) if is_local(path) else map(str, place.parent.glob(place.name))))
    found = found or ((str(place),) if place.is_file() else ())  # a name that holds what is special in patterns
    if not found:
        raise DataError(f"data.{field}: no shard fits {printable(path)!r}{_shown(place.parent)}")
    if strange := [f for f in found if not kind_of(f)]:
        raise DataError(f"data.{field}: {printable(strange[0])} is no shard: its name must hold one of {', '.join(ENDINGS)}")
    if len(kinds := {kind_of(f) for f in found}) > 1:
        raise DataError(f"data.{field}: {printable(path)!r} fits shards of several kinds: {', '.join(sorted(map(str, kinds)))}")
    return found


def kind_of(name: str) -> str | None:
    """The format of a file by its name: "train-00000-of-00004.array_record", "cifar10-train.array_record-00000-of-00001"."""
    return next((kind for ending, kind in ENDINGS.items() if re.search(re.escape(ending) + r"(-\d+-of-\d+)?$", name)), None)


def split_of(name: str) -> str | None:
    """The split that the name of a file speaks of; a name that speaks of two is refused."""
    words = re.split(r"[-_.]", os.path.basename(name).lower())
    found = [split for split, names in NAMES.items() if any(n in words for n in names)]
    if len(found) > 1:
        raise DataError(
            f"{printable(name)}: is it a shard of {' or of '.join(found)}? Name it by one of them, or set patterns instead"
        )
    return next(iter(found), None)


def _shown(folder: Any) -> str:
    """What is there instead, for an error."""
    if not folder.is_dir():
        return f"; there is no folder {printable(folder)}"
    names = sorted(f.name for f in folder.iterdir())
    return f"; it holds {', '.join(map(printable, names[:8]))}{', ...' * (len(names) > 8)}" if names else "; it is empty"


def _remote(path: str) -> Any:
    from etils import epath

    return epath.Path(path)


def stamp(file: str) -> tuple[int, int]:
    """What changes when a file does: size and time."""
    if not is_local(file):
        return 0, 0
    try:
        status = os.stat(file)
    except OSError as e:
        raise DataError(f"{printable(file)} cannot be read: {e.strerror}") from e
    return status.st_size, status.st_mtime_ns


def opened(files: Sequence[str], columns: Sequence[str], keep: int = 4) -> Shards:
    """The shards, of which these columns will be read."""
    return Shards(_opened(tuple(files), tuple(map(stamp, files)), tuple(columns)), keep)


@functools.lru_cache(8)
def _opened(files: tuple[str, ...], stamps: tuple[tuple[int, int], ...], columns: tuple[str, ...]) -> list[ShardFile]:
    kinds = {"array_record": ArrayRecordFile, "parquet": ParquetFile, "jsonl": JsonLinesFile}
    with ThreadPoolExecutor(8) as pool:  # indices lie at the ends of files, perhaps of a bucket
        return list(pool.map(lambda file: kinds[kind_of(file) or ""](file, columns), files))


# ---- splits ----------------------------------------------------------------------------------------------------------------------


def split_files(path: str, test_path: str | None, valid_path: str | None) -> dict[str, tuple[str, ...]]:
    """The shards of each split, none where it is carved from those of training. A folder with validation and no test is tested on
    its validation, as ImageNet and its kin are."""
    found = {"train": find(path, "train")}
    folder = Path(path).expanduser().is_dir() if is_local(path) else _remote(path).is_dir()
    for split, own in (("test", test_path), ("valid", valid_path)):
        found[split] = find(own, split, f"{split}_path") if own else find(path, split) if folder else ()
    if found["valid"] and not found["test"] and not valid_path:
        found |= {"test": found["valid"], "valid": ()}
    for split, other in itertools.combinations(found, 2):
        if both := set(found[split]) & set(found[other]):
            raise DataError(
                f"{printable(min(both))} is a shard of {split} and of {other}: a model would be tested on what it has seen"
            )
    return found


def split_rows(split: str, count: int, given: Collection[str], shares: Mapping[str, float]) -> range | np.ndarray:
    """The rows of a split among the `count` of its shards. `given`: the splits that have shards of their own; shares of the
    training rows make the others."""
    ids: range | np.ndarray = range(count)
    if split != "train" and split in given:
        return ids
    for held in ("test", "valid"):  # first the test is taken out, then validation of what is left
        if held not in given and shares[held]:
            parts = carve(len(ids), shares[held])
            if split == held:
                return parts["valid"] if isinstance(ids, range) else ids[parts["valid"]]
            ids = parts["train"] if isinstance(ids, range) else ids[parts["train"]]
    return ids if split == "train" else range(0)

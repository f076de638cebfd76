"""Rows of columnar files: Parquet, and folders that Hugging Face's `datasets` saved (`save_to_disk`). Needs pyarrow.

A saved data set is a folder with state.json, which names the files in their order, and data-00000-of-00001.arrow, ...: streams of
Arrow. One of several splits is a folder of such folders, beside dataset_dict.json. `datasets` itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxemb.config import suggest
from jaxemb.data.parquet import open_parquet
from jaxemb.files import is_regular, printable
from jaxemb.preprocess.base import DataError

STATE, SPLITS = "state.json", "dataset_dict.json"
Row = tuple[str, dict[str, Any]]
"""Where it stands ("file.parquet, row 3"), and its values by name."""


def parquet_rows(path: str, names: Sequence[str] | None) -> Iterator[Row]:
    """The columns `names` of each row, None: all that are there."""
    file = open_parquet(path)
    there = list(file.schema_arrow.names)
    _check(path, names, there)

    def batches() -> Iterator[Any]:
        try:
            yield from file.iter_batches(columns=list(names or there))
        except Exception as e:  # Arrow raises OSError, ArrowInvalid, ... of decoders
            raise DataError(f"{printable(path)} cannot be read as Parquet: {printable(e)}") from e

    return _rows(path, batches())


def saved_rows(path: str, names: Sequence[str] | None) -> Iterator[Row]:
    """The same of a folder that `Dataset.save_to_disk` wrote, or of a split of what `DatasetDict.save_to_disk` wrote."""
    yield from _rows(path, (batch for file in saved_files(path) for batch in _arrow(file, names)))


def saved_files(path: str) -> list[Path]:
    """The files of a saved data set in their order."""
    folder = Path(path)
    if is_regular(folder / SPLITS):
        splits = _json(folder / SPLITS).get("splits")
        raise DataError(
            f"{printable(path)} holds the splits {', '.join(map(printable, splits or ()))} of a data set: name the folder of one, "
            f"{printable(folder / str((splits or ['train'])[0]))}"
        )
    if not is_regular(folder / STATE):
        raise DataError(
            f"{printable(path)} is a folder without {STATE}: folders are read that Dataset.save_to_disk of Hugging Face's datasets "
            "wrote; other data as .jsonl, .csv, .tsv or .parquet files"
        )
    state = _json(folder / STATE)
    if state.get("_indices_data_files"):  # of datasets before 2.0: which rows of the files are meant stands elsewhere
        raise DataError(f"{printable(path)} was saved with a selection of rows beside it: save it again after .flatten_indices()")
    try:
        files = [folder / str(each["filename"]) for each in state["_data_files"]]
    except (KeyError, TypeError) as e:
        raise DataError(f"{printable(folder / STATE)} names no files (_data_files): the folder was not written whole") from e
    if missing := [file for file in files if not is_regular(file)]:
        raise DataError(f"there is no file {printable(missing[0])}, which {STATE} beside it names")
    return files


def _arrow(file: Path, names: Sequence[str] | None) -> Iterator[Any]:
    try:
        import pyarrow as pa
    except ImportError as e:
        raise DataError("Arrow files need pyarrow: pip install 'jaxemb[parquet]', or pip install pyarrow") from e
    try:
        with pa.memory_map(str(file)) as source:
            reader = pa.ipc.open_stream(source)
            _check(str(file), names, reader.schema.names)
            for batch in reader:
                yield batch.select(list(names)) if names else batch
    except (pa.ArrowException, OSError) as e:
        raise DataError(f"{printable(file)} cannot be read as a stream of Arrow: {printable(e)}") from e


def _rows(path: str, batches: Iterator[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield f"{printable(path)}, row {number}", row


def _check(path: str, names: Sequence[str] | None, there: Sequence[str]) -> None:
    if missing := [name for name in names or () if name not in there]:
        raise DataError(
            f"{printable(path)} has no column {missing[0]!r}{suggest(missing[0], there)}; there are {', '.join(map(repr, there))}"
        )


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{printable(file)} cannot be read: {printable(e)}") from e
    if not isinstance(found, dict):
        raise DataError(f"{printable(file)} holds an object, not a {type(found).__name__}")
    return found

"""Rows of files as they are published: CSV, TSV and JSON lines, with the line of what is wrong; Parquet, saved `datasets`."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxemb import files
from jaxemb.data.tables import Row, parquet_rows, saved_rows
from jaxemb.preprocess.base import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST = 2**24
"""Characters of a field of a CSV file."""


def read_rows(path: str, names: Sequence[str] | None, *, header: bool) -> Iterator[Row]:
    """The columns `names` of each row of a .csv, .tsv, .jsonl or .parquet file or a folder that `datasets` saved; None: all that
    are there. Without a `header` they are the first columns of a CSV or TSV, in this order; the other kinds name their values."""
    file = Path(path)
    kind = file.suffix.lower()
    if files.is_folder(file):
        yield from saved_rows(path, names)
        return
    if kind not in (*DELIMITERS, ".jsonl", ".parquet"):
        raise DataError(f"{files.printable(path)}: rows are read from .csv, .tsv, .jsonl and .parquet files, and saved datasets")
    if not files.is_regular(file):
        raise DataError(f"there is no file {files.printable(path)}")
    if kind == ".parquet":
        yield from parquet_rows(path, names)
        return
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            found = json_lines(stream, path, names or ()) if kind == ".jsonl" else _delimited(stream, path, names, header)
            yield from found
    except UnicodeDecodeError as e:
        line, why = undecodable(path)
        raise DataError(f"{files.printable(path)}, line {line}: this is no UTF-8: {why or e.reason}") from e
    except OSError as e:
        raise DataError(f"{files.printable(path)} cannot be read: {e.strerror}") from e


def undecodable(path: str) -> tuple[int, str]:
    """(number of the first line that is no UTF-8, what is wrong with it): a stream that is decoded in pieces knows neither."""
    number = 0
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError as e:
                return number, e.reason
    return number, ""


def json_lines(stream: Any, path: str, names: Sequence[str], first: int = 1) -> Iterator[Row]:
    """An object a line, with at least these names. `first`: the number of the first line."""
    for number, line in enumerate(stream, first):
        if not line.strip():
            continue
        where = f"{files.printable(path)}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise DataError(f"{where}: this is no JSON: {e}") from e
        if not isinstance(row, dict):
            raise DataError(f"{where}: a line holds an object, {{{', '.join(map(repr, names))}}}, not a {type(row).__name__}")
        if missing := [name for name in names if name not in row]:
            raise DataError(f"{where}: {missing[0]!r} is missing; there are {', '.join(map(repr, row)) or 'none'}")
        yield where, row


def _delimited(stream: Any, path: str, names: Sequence[str] | None, header: bool) -> Iterator[Row]:
    kind = Path(path).suffix.lower()
    csv.field_size_limit(LONGEST)
    quoting = csv.QUOTE_MINIMAL if kind == ".csv" else csv.QUOTE_NONE  # a quotation mark in a TSV is one
    reader = csv.reader(stream, delimiter=DELIMITERS[kind], quoting=quoting)
    places: list[int] | None = None if header else list(range(len(names or ())))
    try:
        for row in reader:
            where = f"{files.printable(path)}, line {reader.line_num}"
            if not row:
                continue
            if places is None:
                names = row if names is None else names
                if missing := [name for name in names if name not in row]:
                    raise DataError(f"{where}: the header has no column {missing[0]!r}; there are {', '.join(map(repr, row))}")
                places = [row.index(name) for name in names]
                continue
            if len(row) <= max(places):
                raise DataError(f"{where}: {len(row)} columns; {', '.join(names or ())} need {max(places) + 1}")
            yield where, {name: row[place] for name, place in zip(names or (), places, strict=True)}
    except csv.Error as e:
        raise DataError(f"{files.printable(path)}, line {reader.line_num}: {e}") from e


def text_of(row: dict[str, Any], name: str, where: str) -> str:
    """A value that is text, and can be written as UTF-8."""
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{where}: {name!r} must be text, not {files.printable(repr(value))}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {name!r} holds half of a character (a lone surrogate), which no file can") from None
    return value


def number_of(row: dict[str, Any], name: str, where: str) -> float:
    """A value that is a finite number, or text that says one."""
    value = row[name]
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not math.isfinite(number):
        raise DataError(f"{where}: {name!r} must be a number, not {files.printable(repr(value))}")
    return number

"""Texts that somebody wants to search: lines of a file, rows of a table, or passages of the text files of a folder."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxemb import files
from jaxemb.data.records import read_rows, text_of
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.chunks import sentences
from jaxemb.preprocess.image_files import find_files
from jaxemb.preprocess.text import LARGEST

ROWS = (".csv", ".tsv", ".jsonl", ".parquet")
"""Files of rows with several values."""
ENDINGS = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc", ".tex")
"""Of the text files of a folder."""
BEIR = "corpus.jsonl"
"""Of a folder that has it, this file is the corpus."""
TEXT = ("text", "body", "content", "passage", "sentence", "query", "question")
"""Which column is the text, where nobody says it: the first of these that is there; before "text" goes the "title"."""
IDS = ("_id", "id")
SHORT, LONG = 200, 800
"""Characters of a passage: a shorter paragraph is joined with the next, a longer one is cut."""
TAG = 100
"""The longest text that is a tag."""
HEADING = re.compile(r"#{1,6} ")


class Corpus(NamedTuple):
    """Texts, or other things, in the order of the rows of an index."""

    items: Any
    """What is embedded: texts, or files or arrays of images."""
    where: list[str]
    """Of each item, what it is called: file:line, an id, the file of an image."""
    tags: dict[str, list[Any]]
    """Values of the items by name, for filters."""
    remarks: tuple[str, ...] = ()
    """What was left out, and why."""
    texts: bool = True
    """Whether items are texts."""
    others: Mapping[str, str] = MappingProxyType({})
    """Of values that are no tags, why not."""

    def filled(self) -> Corpus:
        """Without texts that hold nothing."""
        stay = [i for i, text in enumerate(self.items) if text.strip()]
        if len(stay) == len(self.items):
            return self
        tags = {name: [values[i] for i in stay] for name, values in self.tags.items()}
        remark = f"{len(self.items) - len(stay)} of {len(self.items):,} without text left out"
        items, where = [self.items[i] for i in stay], [self.where[i] for i in stay]
        return self._replace(items=items, where=where, tags=tags, remarks=(*self.remarks, remark))


def read_corpus(path: str, column: str | None = None, endings: Sequence[str] = ENDINGS, longest: int = LONG) -> Corpus:
    """The texts of a file or a folder; those without any character as well.

    A line each of a text file; a row each of a .csv, .tsv, .jsonl or .parquet, whose other values are tags; of a folder with
    BEIR's corpus.jsonl the rows of that; of another one the passages of its text files, `endings`, at most `longest` characters.
    """
    file = Path(path)
    if files.is_folder(file):
        beir = file / BEIR
        return _of_rows(beir, column) if files.is_regular(beir) else _of_folder(file, column, endings, longest)
    if file.suffix.lower() in ROWS:
        return _of_rows(file, column)
    if column is not None:
        raise DataError(f"{files.printable(path)} has no columns: --column is for {', '.join(ROWS)} files")
    lines = _lines(file)
    return Corpus(lines, [f"{file}:{n}" for n in range(1, len(lines) + 1)], {})


def state_of(path: str, endings: Sequence[str] = ENDINGS) -> str:
    """A digest of names, sizes and times of the files behind a corpus, "" where there are none: whether it has changed since."""
    file = Path(path)
    if files.is_folder(file) and not files.is_regular(file / BEIR):
        seen = list(find_files(str(file), tuple(endings)))
    else:
        file = file / BEIR if files.is_folder(file) else file
        seen = [("", s.st_size, s.st_mtime_ns) for s in [file.stat()]] if files.is_regular(file) else []
    return hashlib.blake2b(repr([tuple(f) for f in seen]).encode(), digest_size=16).hexdigest() if seen else ""


# ---- lines and folders -----------------------------------------------------------------------------------------------------------


def _lines(file: Path) -> list[str]:
    try:
        return files.read_lines(file, LARGEST)
    except files.FileError as e:
        raise DataError(str(e)) from e


def _of_folder(folder: Path, column: str | None, endings: Sequence[str], longest: int) -> Corpus:
    if column is not None:
        raise DataError(f"{files.printable(folder)} is a folder of text files: --column is for {', '.join(ROWS)} files")
    found = find_files(str(folder), tuple(endings))
    if not found:
        raise DataError(
            f"{files.printable(folder)} has no text files at any depth ({', '.join(endings)}); --files .py,.c names other endings"
        )
    texts, where, names, remarks = list[str](), list[str](), list[str](), list[str]()
    for name in (f.path for f in found):
        try:
            lines = _lines(folder / name)
        except DataError as e:
            remarks.append(f"{e}; left out")
            continue
        for line, text in passages(lines, longest):
            texts.append(text)
            where.append(f"{folder / name}:{line}")
            names.append(name)
    if not texts:
        raise DataError(
            f"{files.printable(folder)}: none of its {len(found)} text files has text" + "".join(f"\n{r}" for r in remarks)
        )
    return Corpus(texts, where, {"file": names}, tuple(remarks))


def passages(lines: Iterable[str], longest: int = LONG) -> Iterator[tuple[int, str]]:
    """(number of its first line, text): paragraphs, short ones joined with the next, long ones cut at the end of a line or
    sentence; a heading begins a passage."""
    text, first, body = "", 0, False  # body: whether there is more than headings
    for number, line in enumerate(lines, 1):
        line = line.rstrip()
        heading = HEADING.match(line) is not None
        if text and ((heading and body) or (not line and body and len(text) >= SHORT) or len(text) + len(line) >= longest):
            yield first, text
            text, body = "", False
        for piece in _cut(line, longest):
            if text and len(text) + len(piece) >= longest:
                yield first, text
                text = ""
            first = first if text else number
            text, body = f"{text}\n{piece}" if text else piece, body or not heading
    if text:
        yield first, text


def _cut(line: str, longest: int) -> list[str]:
    """A line as it is; one that is too long by its sentences, and a sentence that is too long after so many characters."""
    if len(line) <= longest:
        return [line] if line.strip() else []
    pieces = (line[i : min(i + longest, b)].strip() for a, b in sentences(line) for i in range(a, b, longest))
    return [piece for piece in pieces if piece]


# ---- rows ------------------------------------------------------------------------------------------------------------------------


def _of_rows(file: Path, column: str | None) -> Corpus:
    rows, texts, where = list[Mapping[str, Any]](), list[str](), list[str]()
    for at, row in read_rows(str(file), _named(file, column), header=True):
        texts.append(_text(row, column, at, file))
        own = next((row[name] for name in IDS if isinstance(row.get(name), str | int)), None)
        where.append(f"{file}:{at.rpartition(' ')[2]}" if own is None else str(own))
        rows.append(row)
    if not texts:
        raise DataError(f"{files.printable(file)} has no row")
    tags, others = tags_of(rows, column)
    return Corpus(texts, where, tags, others=others)


def _named(file: Path, column: str | None) -> tuple[str, ...] | None:
    """What is read of each row: all, as the rest are tags; but an error names the column that is not there."""
    if column is None or file.suffix.lower() == ".jsonl":
        return None if column is None else (column,)
    first = next(read_rows(str(file), None, header=True), None)
    return (column,) if first is None or column not in first[1] else tuple(first[1])


def _text(row: Mapping[str, Any], column: str | None, at: str, file: Path) -> str:
    name = column if column is not None else next((n for n in TEXT if n in row), None)
    if name is None:
        strings = [n for n, value in row.items() if isinstance(value, str) and n not in IDS]
        if len(strings) != 1:
            raise DataError(f"{at}: which value is the text? --column names it; there are {', '.join(map(repr, row)) or 'none'}")
        name = strings[0]
    text = text_of(dict(row), name, at)
    title = row.get("title") if column is None and name == "text" else None
    return f"{title} {text}".strip() if isinstance(title, str) else text


def tags_of(rows: Sequence[Mapping[str, Any]], column: str | None = None) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """(values of rows that filters can ask for, why the others are none): of one kind in all rows (numbers, as a table writes them
    too, short texts, or lists of either). A row that lacks a number has NaN, which lies in no range; one that lacks a text has "",
    a list nothing."""
    found, others = dict[str, list[Any]](), dict[str, str]()
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        there = [v for v in values if v is not None and v != ""]
        inside = [x for v in there if isinstance(v, list) for x in v]
        if name in IDS:
            others[name] = "it is what the rows are called"
        elif name in (column, *(TEXT[:1] + ("title",) if column is None else ())):
            others[name] = "it is the text that is searched"
        elif not there:
            others[name] = "no row has a value"
        elif all(_is_number(v) for v in there):
            found[name] = [float(v) if v is not None and v != "" else math.nan for v in values]
        elif all(isinstance(v, str) and len(v) <= TAG for v in there):
            found[name] = [v or "" for v in values]
        elif all(isinstance(v, list) for v in there) and any(all(isinstance(x, k) for x in inside) for k in (str, int | float)):
            found[name] = [v or [] for v in values]
        else:
            others[name] = _mixed(there, inside)
    return found, others


def _mixed(there: Sequence[Any], inside: Sequence[Any]) -> str:
    """Why values are of no one kind."""
    kinds, within = (dict.fromkeys(_kind(v) for v in values) for values in (there, inside))
    if len(kinds) > 1 or len(within) > 1:
        where = "the values" if len(kinds) > 1 else "its lists"
        return f"{where} are {' and '.join(kinds if len(kinds) > 1 else within)}, and a tag is of one kind"
    return f"it has texts of more than {TAG} characters" if "texts" in kinds else f"the values are {next(iter(within or kinds))}"


def _kind(value: Any) -> str:
    named = ((str, "texts"), (int | float, "numbers"), (list, "lists"))
    return next((name for kind, name in named if isinstance(value, kind)), f"of the type {type(value).__name__}")


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float | str) and math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False

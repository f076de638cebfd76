"""Records of pairs as files hold them: which fields are what, checked row by row."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxemb import files
from jaxemb.config import suggest
from jaxemb.data.beir import is_qrels, judged_rows
from jaxemb.data.records import Row, number_of, read_rows, text_of
from jaxemb.data.tables import STATE
from jaxemb.preprocess.base import DataError

NAMES: dict[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "sentence1", "text1", "text", "sentence"),
    "positive": ("positive", "pos", "answer", "document", "passage", "response", "sentence2", "text2"),
    "negatives": ("negatives", "negative", "neg", "hard_negatives"),
    "score": ("score", "similarity", "similarity_score"),
    "label": ("label", "labels"),
    "task": ("task", "dataset"),
    "teacher": ("teacher", "teacher_scores"),
}
"""What files call a field; the first that a file has is taken, where the data do not say another one."""


class Pair(NamedTuple):
    """A record."""

    where: str
    """"file.jsonl, line 3"."""
    query: str
    positive: str | None
    """None: of labelled texts, which are paired with others of their label."""
    negatives: tuple[str, ...] = ()
    score: float = 0.0
    label: str = ""
    task: str = ""
    teacher: tuple[float, ...] = ()


class Wanted(NamedTuple):
    """What is read of a record."""

    negatives: int
    """Hard negatives at most."""
    scores: tuple[int | float, int | float] | None
    labelled: bool
    tasks: bool
    teacher: bool
    columns: tuple[tuple[str, str], ...]
    """(field, what the file calls it)."""
    header: bool = True


@functools.lru_cache(8)
def read_pairs(path: str, changed: int, wanted: Wanted) -> tuple[Pair, ...]:
    """All records of a file; `changed` is its time stamp, so that a new version is read anew."""
    found: list[Pair] = []
    names: dict[str, Any] = {}
    for where, row in _rows(path, wanted):
        names = names or _names(row, where, wanted)
        found.append(_pair(row, where, names, wanted))
    if len(found) < 2:
        raise DataError(
            f"{files.printable(path)} has {len(found)} row{'s' * (len(found) != 1)}: pairs are compared with those of other rows, "
            "of which there must be some"
        )
    return tuple(found)


def _rows(path: str, wanted: Wanted) -> Iterator[Row]:
    """The judgements of a collection in BEIR's layout are pairs, too. Of files without a header the columns go by our names."""
    if is_qrels(path):
        return judged_rows(path)
    own = ["query", "positive"] + ["score"] * (wanted.scores is not None)
    return read_rows(path, None if wanted.header else [dict(wanted.columns).get(name, name) for name in own], header=wanted.header)


def found_file(path: str, field: str) -> tuple[str, int]:
    """The file and its time stamp; of a folder that `datasets` saved that of what names its files."""
    file = Path(path).expanduser()
    if not path or not file.exists():
        looked = f"there is no file {files.printable(path)} (looked for {file.absolute()})" if path else "there are no pairs"
        raise DataError(
            f"{looked}; set data.{field} to a .jsonl, .csv, .tsv or .parquet file of pairs, or a saved dataset's folder"
        )
    stamped = file / STATE if (file / STATE).is_file() else file
    return str(file), stamped.stat().st_mtime_ns


def _names(row: Mapping[str, Any], where: str, wanted: Wanted) -> dict[str, Any]:
    """What the file calls each field; None: it has no such."""
    given = dict(wanted.columns)
    if unknown := [field for field in given if field not in NAMES]:
        raise DataError(f"columns: {unknown[0]!r} is no field of a pair{suggest(unknown[0], NAMES)}")
    names: dict[str, Any] = {field: given.get(field, next((n for n in known if n in row), None)) for field, known in NAMES.items()}
    many = tuple(n for i in range(1, wanted.negatives + 1) if (n := f"negative_{i}") in row)
    names["negatives"] = many or names["negatives"]
    needed = ["query"] + ["positive"] * (not wanted.labelled) + ["negatives"] * (wanted.negatives > 0)
    needed += ["score"] * (wanted.scores is not None) + ["label"] * wanted.labelled + ["task"] * wanted.tasks
    for field in [*needed, *["teacher"] * wanted.teacher]:
        if names[field] is None:
            raise DataError(
                f"{where}: there is no {field}, under none of the names {', '.join(NAMES[field])}; the record has "
                f"{', '.join(map(files.printable, row))}; data.columns={{{field!r}: NAME}} says another one"
            )
    return names


def _pair(row: dict[str, Any], where: str, names: Mapping[str, Any], wanted: Wanted) -> Pair:
    positive = None if names["positive"] is None else _text(row, names["positive"], where)
    values: dict[str, Any] = {}
    if wanted.negatives:
        values["negatives"] = _negatives(row, names["negatives"], where)[: wanted.negatives]
    if wanted.scores is not None:
        low, high = wanted.scores
        values["score"] = score = number_of(_has(row, names["score"], where), names["score"], where)
        if not low <= score <= high:
            raise DataError(
                f"{where}: {names['score']!r} is {score:g}, and scores={wanted.scores} says that it lies in {low:g} to {high:g}"
            )
    for field in ("label",) * wanted.labelled + ("task",) * wanted.tasks:
        values[field] = str(_has(row, names[field], where)[names[field]])
    if wanted.teacher:
        values["teacher"] = _teacher(row, names["teacher"], where, 1 + len(values.get("negatives", ())))
    return Pair(where, _text(row, names["query"], where), positive, **values)


def _has(row: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    if name not in row:
        raise DataError(f"{where}: {name!r} is missing; there are {', '.join(map(repr, row)) or 'none'}")
    return row


def _text(row: dict[str, Any], name: str, where: str) -> str:
    text = text_of(_has(row, name, where), name, where)
    if not text.strip():
        raise DataError(f"{where}: {name!r} is empty; a text has at least one character that is no space")
    return text


def _negatives(row: dict[str, Any], names: str | tuple[str, ...], where: str) -> tuple[str, ...]:
    """One text, a list of them, or several columns; those that a row lacks are null, or not there."""
    if isinstance(names, tuple):
        return tuple(_text(row, n, where) for n in names if row.get(n) not in (None, ""))
    value = row.get(names)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (_text(row, names, where),)
    if not isinstance(value, Sequence):
        raise DataError(f"{where}: {names!r} must be a text or a list of texts, not {files.printable(repr(value))}")
    return tuple(_text({f"{names}[{i}]": x}, f"{names}[{i}]", where) for i, x in enumerate(value))


def _teacher(row: dict[str, Any], name: str, where: str, count: int) -> tuple[float, ...]:
    value = _has(row, name, where)[name]
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < count:
        raise DataError(
            f"{where}: {name!r} must be a list of {count} numbers, of the positive and of each negative, not "
            f"{files.printable(repr(value))}"
        )
    return tuple(number_of({f"{name}[{i}]": x}, f"{name}[{i}]", where) for i, x in enumerate(value[:count]))


def check_labels(found: Sequence[Pair]) -> None:
    """Raises DataError where a text has nothing to be paired with."""
    members: dict[str, list[Pair]] = {}
    for pair in found:
        members.setdefault(pair.label, []).append(pair)
    for label, own in members.items():
        if len({pair.query for pair in own}) < 2:
            raise DataError(
                f"{own[0].where}: the label {files.printable(label)} has one member, and a text is paired with another one of its "
                "label; leave the record out, or give it a second one"
            )
    if len(members) < 2:
        raise DataError(
            f"{found[0].where}: all texts have the label {files.printable(next(iter(members)))}: there are no negatives"
        )

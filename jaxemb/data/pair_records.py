"""Records of pairs as files hold them: which fields are what, checked row by row."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
NUMBERED = re.compile(r"negative_\d+")
"""Columns of one negative each, in the order of their numbers, after those of a list."""


class Pair(NamedTuple):
    """A record."""

    where: str
    """"file.jsonl, line 3"."""
    query: str
    positive: str | None
    """None: of labelled texts, which are paired with others of their label."""
    negatives: tuple[str, ...] = ()
    score: float = 0.0
    """NaN: of another task than those that have scores."""
    label: str = ""
    """Empty: of another task than those that have labels."""
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
    rows = list(_rows(path, wanted))
    needed = ["query"] + ["positive"] * (not wanted.labelled) + ["negatives"] * (wanted.negatives > 0)
    needed += ["score"] * (wanted.scores is not None) + ["label"] * wanted.labelled + ["task"] * wanted.tasks
    names = _names(rows, wanted.columns, [*needed, *["teacher"] * wanted.teacher])
    if len(rows) < 2:
        raise DataError(
            f"{files.printable(path)} has {len(rows)} row{'s' * (len(rows) != 1)}: pairs are compared with those of other rows, "
            "of which there must be some"
        )
    found = tuple(_pair(row, where, names, wanted) for where, row in rows)
    _check_tasks(found)
    return found


def _check_tasks(pairs: Iterable[Pair]) -> None:
    """Raises DataError for a task of which some records have a score or a label, and others none."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        like = first.setdefault(pair.task, pair)
        has = {"score": [not math.isnan(p.score) for p in (like, pair)], "label": [bool(p.label) for p in (like, pair)]}
        for field, (before, here) in has.items():
            if before != here:
                raise DataError(
                    f"{pair.where}: this record has {'a' if here else 'no'} {field}, unlike {like.where}, of the same task "
                    f"{files.printable(pair.task)}: all of a task have one, or none"
                )


def read_records(path: str, columns: Sequence[tuple[str, str]] = (), labelled: bool = False) -> list[Row]:
    """All records of a file under our names of fields, `negatives` a list; what else they hold keeps its name. `labelled`: those
    with a label may have no positive."""
    rows = list(judged_rows(path) if is_qrels(path) else read_rows(path, None, header=True))
    names = _names(rows, columns, ["query", *dict(columns)])
    if not (labelled and names["label"]):
        _names(rows, columns, ["positive"])
    return [(where, _record(row, names, where, labelled)) for where, row in rows]


def _record(row: dict[str, Any], names: Mapping[str, Any], where: str, labelled: bool) -> dict[str, Any]:
    single = {name: field for field, name in names.items() if isinstance(name, str)}
    alone = labelled and row.get(names["label"]) is not None and row.get(names["positive"]) in (None, "")
    found: dict[str, Any] = {field: _text(row, names[field], where) for field in ("query", *["positive"] * (not alone))}
    places = _negatives(row, names["negatives"], where)
    found |= {"negatives": [text for text in places if text is not None]} if names["negatives"] else {}
    others = {name: x for name, x in row.items() if name not in names["negatives"] and not (alone and name == names["positive"])}
    left = {name: x for name, x in others.items() if name not in single}
    if taken := [name for name in left if names.get(name)]:
        raise DataError(f"{where}: {taken[0]!r} is read from another column, as columns says; rename the one of this name")
    found |= {single[name]: x for name, x in others.items() if name in single} | left
    scores = found.get("teacher")
    if isinstance(scores, list) and len(scores) == 1 + len(places):  # what stands for negatives that are not there goes with them
        found["teacher"] = [x for x, there in zip(scores, [True, *(text is not None for text in places)], strict=True) if there]
    return found


def write_records(path: str, records: Iterable[Row]) -> None:
    """A line of JSON each; dates and the like as text. Nothing is written where one of them cannot be."""

    def line(where: str, row: Mapping[str, Any]) -> bytes:
        for name, value in row.items():
            if isinstance(value, bytes):
                raise DataError(f"{where}: {name!r} holds bytes, which a line of JSON cannot; leave the column out")
        try:
            return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
        except UnicodeEncodeError:
            raise DataError(f"{where}: a field holds half of a character (a lone surrogate), which no file can") from None

    lines = [line(where, row) for where, row in records]
    try:
        Path(path).write_bytes(b"".join(lines))
    except OSError as e:
        raise DataError(f"{files.printable(path)} cannot be written: {e.strerror}") from e


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


def _names(rows: Sequence[Row], columns: Sequence[tuple[str, str]], needed: Sequence[str]) -> dict[str, Any]:
    """What the file calls each field, by all its rows, since any may lack one; None: it has no such. Of negatives all names."""
    given, seen = dict(columns), dict.fromkeys(name for _, row in rows for name in row)
    if unknown := [field for field in given if field not in NAMES]:
        raise DataError(f"columns: {unknown[0]!r} is no field of a pair{suggest(unknown[0], NAMES)}")
    names: dict[str, Any] = {f: given.get(f, next((n for n in known if n in seen), None)) for f, known in NAMES.items()}
    several = [n for n in NAMES["negatives"] if n in seen]
    several += sorted(filter(NUMBERED.fullmatch, seen), key=lambda n: int(n.rpartition("_")[2]))
    names["negatives"] = (given["negatives"],) if "negatives" in given else tuple(several)
    for field in needed if rows else ():
        there = f"the records have {', '.join(map(files.printable, seen))}"
        if not names[field]:
            raise DataError(
                f"{rows[0][0]}: there is no {field}, under none of the names {', '.join(NAMES[field])}; {there}; "
                f"data.columns={{{field!r}: NAME}} says another one"
            )
        if field in given and given[field] not in seen:
            raise DataError(f"{rows[0][0]}: there is no {given[field]!r}, which columns says is the {field}; {there}")
    return names


def _pair(row: dict[str, Any], where: str, names: Mapping[str, Any], wanted: Wanted) -> Pair:
    lacks = wanted.labelled and row.get(names["positive"]) in (None, "")  # of labelled texts some may have one
    positive = None if lacks else _text(row, names["positive"], where)
    values: dict[str, Any] = {}
    places = _negatives(row, names["negatives"], where) if wanted.negatives else []
    values["negatives"] = tuple(text for text in places if text is not None)[: wanted.negatives]
    lacking = [field for field in ("score", "label") if wanted.tasks and row.get(names[field]) in (None, "")]
    if wanted.scores is not None and "score" in lacking:
        values["score"] = math.nan
    elif wanted.scores is not None:
        low, high = wanted.scores
        values["score"] = score = number_of(_has(row, names["score"], where), names["score"], where)
        if not low <= score <= high:
            raise DataError(
                f"{where}: {names['score']!r} is {score:g}, and scores={wanted.scores} says that it lies in {low:g} to {high:g}"
            )
    for field in ("label",) * (wanted.labelled and "label" not in lacking) + ("task",) * wanted.tasks:
        values[field] = str(value := _has(row, names[field], where)[names[field]])
        if value is None or not values[field].strip():  # else all that are unknown would be one group
            raise DataError(f"{where}: {names[field]!r} is empty; leave the record out, or give it a {field}")
    if wanted.teacher:
        values["teacher"] = _teacher(row, names["teacher"], where, places, 1 + len(values["negatives"]))
    if positive is None and "label" in lacking:
        raise DataError(f"{where}: there is neither a positive nor a label; a text is paired with one of the two")
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


def _negatives(row: dict[str, Any], names: Sequence[str], where: str) -> list[str | None]:
    """Of columns that hold a text or a list of texts; None where a column holds nothing, or is not there."""
    found: list[str | None] = []
    for name in names:
        value = row.get(name)
        if value is None or value == "":
            found.append(None)
        elif isinstance(value, str):
            found.append(_text(row, name, where))
        elif isinstance(value, Sequence):
            found += [_text({f"{name}[{i}]": x}, f"{name}[{i}]", where) for i, x in enumerate(value)]
        else:
            raise DataError(f"{where}: {name!r} must be a text or a list of texts, not {files.printable(repr(value))}")
    return found


def _teacher(row: dict[str, Any], name: str, where: str, places: Sequence[str | None], count: int) -> tuple[float, ...]:
    """The first `count` scores of the positive and of each negative; one of a negative that is not there is left out."""
    value = _has(row, name, where)[name]
    there = [True, *(text is not None for text in places)]
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    if not listed or not (count <= len(value) <= sum(there) or len(value) == len(there)):
        raise DataError(
            f"{where}: {name!r} must be a list of {sum(there)} numbers, of the positive and of each negative, not "
            f"{files.printable(repr(value))}"
        )
    used = there if len(value) == len(there) else [True] * len(value)
    return tuple(number_of({f"{name}[{i}]": x}, f"{name}[{i}]", where) for i, x in enumerate(value) if used[i])[:count]

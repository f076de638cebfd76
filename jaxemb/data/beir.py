"""A collection of retrieval in the layout of BEIR: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxemb import files
from jaxemb.config import suggest
from jaxemb.data.records import Row, number_of, read_rows, text_of
from jaxemb.preprocess.base import DataError

QRELS = {"train": ("train",), "valid": ("dev", "valid"), "test": ("test",)}
"""The names that a split has in qrels/, the usual one first."""
HEADER = ("query-id", "corpus-id", "score")
HIGHEST = 100
"""Of the grades of judgements; below -HIGHEST none is read either."""


class Collection(NamedTuple):
    """Texts, and who belongs to whom."""

    document_ids: list[str]
    documents: list[str]
    """Title and text, with a space between; either may be missing."""
    query_ids: list[str]
    """Those that somebody judged a document for; the others are left out, as in BEIR."""
    queries: list[str]
    judgements: dict[str, dict[str, int]]
    """query id -> document id -> grade; 1 or more is relevant, 0 is not, below 0 counts as not judged."""
    unjudged: int
    """Queries that were left out."""


def read_beir(path: str, split: str = "test") -> Collection:
    """The collection in a folder, with the judgements of one split."""
    folder = Path(path)
    if not files.is_folder(folder):
        raise DataError(f"{files.printable(path)} is no folder: a collection is one with corpus.jsonl, queries.jsonl and qrels/")
    documents = _texts(folder / "corpus.jsonl", "document")
    queries = _texts(folder / "queries.jsonl", "query")
    judgements = _judgements(_qrels(folder, split), documents, queries)
    judged = [name for name in queries if name in judgements]
    return Collection(
        list(documents),
        list(documents.values()),
        judged,
        [queries[name] for name in judged],
        judgements,
        len(queries) - len(judged),
    )


def is_qrels(path: str) -> bool:
    """Whether a file holds the judgements of a collection: FOLDER/qrels/NAME.tsv beside FOLDER/corpus.jsonl."""
    file = Path(path)
    return file.suffix == ".tsv" and file.parent.name == "qrels" and files.is_regular(file.parents[1] / "corpus.jsonl")


def judged_rows(path: str) -> Iterator[Row]:
    """A row {"query", "positive", "score"} for each judgement of such a file with a grade of at least 1: pairs to train on.
    Documents without text are left out, which collections do hold (Cranfield's 995)."""
    folder = Path(path).parents[1]
    documents, queries = _texts(folder / "corpus.jsonl", "document"), _texts(folder / "queries.jsonl", "query")
    for query, own in _judgements(Path(path), documents, queries).items():
        for document, grade in own.items():
            if grade >= 1 and documents[document]:
                where = f"{files.printable(path)}, query {files.printable(query)}, document {files.printable(document)}"
                yield where, {"query": queries[query], "positive": documents[document], "score": float(grade)}


def _texts(file: Path, what: str) -> dict[str, str]:
    """id -> text, in the order of the file."""
    found: dict[str, str] = {}
    for where, row in read_rows(str(file), ("_id", "text"), header=True):
        name = text_of(row, "_id", where)
        if name in found:
            raise DataError(f"{where}: there is a {what} with the id {files.printable(repr(name))} already")
        title = text_of(row, "title", where) if row.get("title") else ""
        found[name] = f"{title} {text_of(row, 'text', where)}".strip()
    if not found:
        raise DataError(f"{files.printable(file)} holds no {what}")
    return found


def _qrels(folder: Path, split: str) -> Path:
    names = QRELS[split]
    found = [folder / "qrels" / f"{name}.tsv" for name in names if files.is_regular(folder / "qrels" / f"{name}.tsv")]
    if not found:
        there = sorted(f.stem for f in (folder / "qrels").glob("*.tsv")) if files.is_folder(folder / "qrels") else []
        raise DataError(
            f"{files.printable(folder)} has no qrels/{names[0]}.tsv, the judgements of split={split!r}{suggest('', there)}"
        )
    return found[0]


def _judgements(file: Path, documents: dict[str, str], queries: dict[str, str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for i, (where, row) in enumerate(read_rows(str(file), HEADER, header=False)):
        query, document = row["query-id"], row["corpus-id"]
        if i == 0 and (query, document) == HEADER[:2]:
            continue
        for what, name, known in (("query", query, queries), ("document", document, documents)):
            if name not in known:
                raise DataError(f"{where}: a judgement for the {what} {files.printable(repr(name))}, which there is not")
        grade = _grade((where, row))
        if found.setdefault(query, {}).setdefault(document, grade) != grade:
            raise DataError(f"{where}: this pair was judged before, with the grade {found[query][document]}, now {grade}")
    if not found:
        raise DataError(f"{files.printable(file)} holds no judgement")
    return found


def _grade(row: Row) -> int:
    grade = number_of(row[1], "score", row[0])
    if not grade.is_integer() or abs(grade) > HIGHEST:
        raise DataError(f"{row[0]}: 'score' is a grade, a whole number of {-HIGHEST} to {HIGHEST}, not {row[1]['score']!r}")
    return int(grade)

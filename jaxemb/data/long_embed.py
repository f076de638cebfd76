"""LongEmbed as it is published on the hub ("dwzhu/LongEmbed"): a folder a task, with queries, corpus and qrels as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxemb import files
from jaxemb.config import suggest
from jaxemb.data.beir import Collection
from jaxemb.data.records import read_rows, text_of
from jaxemb.preprocess.base import DataError

REAL = ("narrativeqa", "qmsum", "summ_screen_fd", "2wikimqa")
SYNTHETIC = ("needle", "passkey")
"""Of these each line says the length of its documents, and each length is a search of its own."""
TASKS = (*SYNTHETIC, *REAL)
Key = tuple[int | None, str]


def read_long_embed(path: str, task: str) -> dict[int | None, Collection]:
    """The searches of a task, by the tokens of their documents ("context_length"); None: real documents, of any length.

    Lines are {"qid", "text"} in queries.jsonl, {"doc_id", "text"} in corpus.jsonl and {"qid", "doc_id"} in qrels.jsonl; further
    fields are left alone. The names of files and fields are those that mteb reads; a copy of the data was not at hand."""
    if task not in TASKS:
        raise DataError(f"there is no task {task!r}{suggest(task, TASKS)}")
    folder = Path(path) / task
    if not files.is_folder(folder):
        raise DataError(
            f"{files.printable(folder)} is no folder: {files.printable(path)} should be a copy of the data set dwzhu/LongEmbed, "
            f"with {', '.join(TASKS)}"
        )
    documents = _texts(folder / "corpus.jsonl", "doc_id")
    queries = _texts(folder / "queries.jsonl", "qid")
    judged: dict[int | None, dict[str, dict[str, int]]] = {}
    for where, length, row in _rows(folder / "qrels.jsonl", ("qid", "doc_id")):
        query, document = text_of(row, "qid", where), text_of(row, "doc_id", where)
        for what, name, known in (("query", query, queries), ("document", document, documents)):
            if (length, name) not in known:
                raise DataError(f"{where}: a judgement for the {what} {files.printable(repr(name))}, which there is not")
        judged.setdefault(length, {}).setdefault(query, {})[document] = 1
    if not judged:
        raise DataError(f"{files.printable(folder / 'qrels.jsonl')} holds no judgement")
    return {length: _collection(length, documents, queries, judged[length]) for length in sorted(judged, key=lambda n: n or 0)}


def _collection(
    length: int | None, documents: dict[Key, str], queries: dict[Key, str], judged: dict[str, dict[str, int]]
) -> Collection:
    own = {name: text for (n, name), text in documents.items() if n == length}
    asked = {name: text for (n, name), text in queries.items() if n == length}
    known = [name for name in asked if name in judged]
    return Collection(list(own), list(own.values()), known, [asked[n] for n in known], judged, len(asked) - len(known))


def _texts(file: Path, name: str) -> dict[Key, str]:
    found: dict[Key, str] = {}
    for where, length, row in _rows(file, (name, "text")):
        key = (length, text_of(row, name, where))
        if key in found:
            raise DataError(f"{where}: there is a text with the {name} {files.printable(repr(key[1]))} already")
        found[key] = text_of(row, "text", where)
    if not found:
        raise DataError(f"{files.printable(file)} holds no text")
    return found


def _rows(file: Path, names: tuple[str, ...]) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
    """(where it stands, its length, a line)."""
    for where, row in read_rows(str(file), names, header=True):
        length = row.get("context_length")
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise DataError(f"{where}: 'context_length' must be a number of tokens, not {files.printable(repr(length))}")
        yield where, length, row

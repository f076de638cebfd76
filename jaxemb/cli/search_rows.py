"""What `jaxemb search` is given, as vectors: a corpus and what its rows are, and queries."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxemb.cli.encode import array_of, read
from jaxemb.config import ConfigError
from jaxemb.files import exists, is_folder
from jaxemb.log.table import console, say
from jaxemb.preprocess.base import DataError

if TYPE_CHECKING:
    from jaxemb.data.corpus import Corpus
    from jaxemb.io.embedder import Embedder

PROBE = "a text by which a model is recognised"
SHORTEST = 32
"""Tokens that a query is padded to: one function is compiled for all that are no longer."""

Ask = Callable[[Sequence[Any]], Any]
"""From queries to their vectors."""


class Rows(NamedTuple):
    """A corpus that is no index yet."""

    x: Any
    """Vectors, or a matrix of each text."""
    corpus: Corpus
    seconds: float


def rows_of(model: Embedder | None, args: argparse.Namespace) -> Rows:
    """The vectors of CORPUS, made or read, and what its rows are."""
    start = time.perf_counter()
    if model is None:
        return with_texts(args.corpus, args.texts, args) if is_array(args.corpus) else with_texts(args.run, args.corpus, args)
    if is_array(args.corpus) and (array_of(args.corpus, "CORPUS").ndim == 2 or "tokens" in model.preprocess.spec):
        return with_texts(args.corpus, args.texts, args)
    if args.texts:
        raise ConfigError(f"--texts says what the rows of an .npy are, and {args.corpus} is none")
    corpus = items_of(model, args.corpus, args.column, endings(args))
    how: dict[str, Any] = {"batch_size": args.batch, "prompt": args.document_prompt, "show_progress_bar": console().is_terminal}
    return Rows(model.encode_document(corpus.items, **how), corpus, time.perf_counter() - start)


def with_texts(vectors: str, texts: str | None, args: argparse.Namespace) -> Rows:
    """Vectors that were made before, and what they are of."""
    from jaxemb.data.corpus import Corpus, read_corpus
    from jaxemb.io.searchable import numbered

    x = array_of(vectors, "CORPUS")
    if x.ndim != 2:
        raise DataError(f"{vectors}: vectors are an array of two axes, rows and numbers, not one of shape {x.shape}")
    if x.dtype.kind in "biu":
        raise DataError(
            f"{vectors} holds codes ({x.dtype}), not the numbers of vectors: encode in float32, and --index scalar or binary"
        )
    if texts is None:
        return Rows(x, Corpus((), numbered(len(x)), {}), 0.0)
    corpus = read_corpus(texts, args.column, endings(args))
    if len(corpus.items) != len(x):
        if len(corpus.filled().items) != len(x):
            raise DataError(f"{texts} has {len(corpus.items):,} texts, and {vectors} {len(x):,} rows: a text says what its row is")
        corpus = corpus.filled()  # some models leave empty lines out
    return Rows(x, corpus, 0.0)


def items_of(model: Embedder, path: str, column: str | None, some: Sequence[str]) -> Corpus:
    """Texts for a model of texts, images for one of images; for one of both what there is."""
    from jaxemb.data.corpus import LONG, ROWS, SHORT, Corpus, read_corpus
    from jaxemb.preprocess.image_files import find_files

    both = "image" in model.preprocess.spec
    textual = find_files(path, tuple(some)) if is_folder(path) else Path(path).suffix.lower() in (*ROWS, *some)
    if takes_text(model) and (textual or not both):
        # Of about three characters a token, so that little is cut off.
        longest = LONG if model.max_length is None else min(LONG, max(3 * model.max_length, SHORT))
        found = read_corpus(path, column, some, longest).filled()
    else:
        items, names = read(model, Path(path), column)
        where = names or [f"image {i}" for i in range(len(items))]
        found = Corpus(items, list(where), {"file": list(names)} if names else {}, texts=False)
    for remark in found.remarks:
        say(remark, "yellow")
    if not len(found.items):
        raise DataError(f"{path} is empty: there is no text in it")
    return found


def endings(args: argparse.Namespace) -> tuple[str, ...]:
    """Of the text files of a folder."""
    from jaxemb.data.corpus import ENDINGS

    given = [e.strip().lower() for e in (args.files or "").split(",") if e.strip()]
    return tuple(e if e.startswith(".") else f".{e}" for e in given) or ENDINGS


def index_for(model: Embedder | None, text: str | None) -> Any:
    """The index that is asked for, comparing as the model does."""
    from jaxemb.cli.indexes import index_of

    similarity, over = ("cosine", "sum") if model is None else model.how_matrices
    if over == "max":
        raise ConfigError("texts of several windows are compared by the two that are nearest, which no index does")
    return index_of(text, similarity, model is not None and model.matrices())


def takes_text(model: Embedder) -> bool:
    return "images" not in model.preprocess.spec


def checked(path: str | None, run: Callable, *given: Any) -> Any:
    """Says which file has the rows that are no vectors."""
    try:
        return run(*given)
    except DataError as e:
        raise DataError(f"{path}: {e}" if path else str(e)) from e


def is_array(path: str) -> bool:
    return Path(path).suffix.lower() == ".npy"


# ---- queries ---------------------------------------------------------------------------------------------------------------------


def asker(model: Embedder | None, x: Any, prompt: str | None) -> Ask:
    """Vectors of texts in the role of queries, or of names of images; without a model of rows, which are named by their numbers."""
    if model is None:
        return lambda numbers: x[[row_number(n, len(x)) for n in numbers]]
    from jaxemb.preprocess.hf_text import PretrainedText

    alone = copy.copy(model)
    if isinstance(model.preprocess, PretrainedText):
        shortest = min(SHORTEST, model.preprocess.length)
        alone.preprocess = dataclasses.replace(model.preprocess, shortest=shortest)
    both = "image" in model.preprocess.spec
    item = lambda q: Path(q) if both and isinstance(q, str) and exists(q) else q  # noqa: E731
    return lambda queries: alone.encode_query([item(q) for q in queries], prompt=prompt, show_progress_bar=False)


def row_number(text: str, rows: int) -> int:
    if not text.isdecimal() or int(text) >= rows:
        raise ConfigError(f"{text!r}: without a model a query is the number of a row, 0 to {rows - 1}")
    return int(text)


def asked(model: Embedder | None, ask: Ask, args: argparse.Namespace) -> tuple[Sequence[str], Any]:
    """(what they are called, vectors) of all queries that the command line gives."""
    if args.query:
        return args.query, ask(args.query)
    if is_array(args.queries) and (q := array_of(args.queries, "QUERIES")).ndim <= 2:
        q = q[None] if q.ndim == 1 else q
        return [f"{Path(args.queries).name}, row {i}" for i in range(len(q))], q
    if model is None:
        raise ConfigError(f"{args.queries}: texts need a model to become vectors, and {args.run} is none; give vectors, an .npy")
    corpus = items_of(model, args.queries, args.query_column, endings(args))
    prompt = args.query_prompt
    q = model.encode_query(corpus.items, prompt=prompt, batch_size=args.batch, show_progress_bar=console().is_terminal)
    return corpus.items if corpus.texts else corpus.where, q


def probe(model: Embedder, ask: Ask) -> Any:
    """By the vector of one thing it is seen whether queries still become what they were when a corpus was encoded."""
    return ask([something(model)])[0].tolist()


def something(model: Embedder) -> Any:
    """A text, or an image that any model of images takes: light that grows towards a corner."""
    import numpy as np

    if takes_text(model):
        return PROBE
    h, w, c = model.preprocess.spec["images"].shape
    light = np.add.outer(np.linspace(0, 127, h), np.linspace(0, 127, w))
    return np.repeat(light[..., None], c, -1).astype(np.uint8)

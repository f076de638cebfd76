"""What `jaxemb search` is given, as vectors: a corpus and what its rows are, and queries."""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxemb.cli.encode import array_of, read
from jaxemb.config import ConfigError, DataError
from jaxemb.files import exists, is_folder, is_regular, printable
from jaxemb.log.table import console, say

if TYPE_CHECKING:
    from jaxemb.data.corpus import Corpus
    from jaxemb.io.embedder import Embedder

PROBE = "a text by which a model is recognised"
SHORTEST = 32
"""Tokens that a query is padded to: one function is compiled for all that are no longer."""
TRIED = 32
"""Rows that an index is tried with."""

Ask = Callable[[Sequence[Any]], Any]
"""From queries to their vectors."""


class Source(NamedTuple):
    """A corpus that is read, and of which nothing is encoded yet."""

    x: Any
    """Vectors; None where the items are to become some."""
    corpus: Corpus
    path: str
    """Of the file that the vectors are of."""


class Asked(NamedTuple):
    """Queries that the command line gives."""

    names: Sequence[str]
    q: Any


def source_of(model: Embedder | None, args: argparse.Namespace) -> Source:
    """CORPUS as it is read, and what its rows are."""
    if model is None:
        if is_array(args.corpus):
            return with_texts(args.corpus, args.texts, args)
        if args.texts:
            raise ConfigError(f"--texts: {args.corpus} says already what the rows of {args.run} are")
        return with_texts(args.run, args.corpus, args)
    if is_array(args.corpus) and (array_of(args.corpus, "CORPUS").ndim == 2 or "tokens" in model.preprocess.spec):
        return with_texts(args.corpus, args.texts, args)
    if args.texts:
        raise ConfigError(f"--texts says what the rows of an .npy are, and {args.corpus} is none")
    return Source(None, items_of(model, args.corpus, args.column, args), args.corpus)


def encoded(model: Embedder | None, source: Source, args: argparse.Namespace) -> Any:
    """The vectors of a corpus, or a matrix of each text."""
    if source.x is not None or model is None:
        return source.x
    how: dict[str, Any] = {"batch_size": args.batch, "prompt": args.document_prompt, "show_progress_bar": console().is_terminal}
    return model.encode_document(source.corpus.items, **how)


def with_texts(vectors: str, texts: str | None, args: argparse.Namespace) -> Source:
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
        if args.column:
            raise ConfigError(f"--column: {vectors} has vectors and no columns; --texts says what they are of")
        return Source(x, Corpus((), numbered(len(x)), {}), vectors)
    corpus = read_corpus(texts, args.column, endings(args))
    if len(corpus.items) != len(x):
        if len(corpus.filled().items) != len(x):
            raise DataError(f"{texts} has {len(corpus.items):,} texts, and {vectors} {len(x):,} rows: a text says what its row is")
        corpus = corpus.filled()  # some models leave empty lines out
    return Source(x, corpus, vectors)


def items_of(model: Embedder, path: str, column: str | None, args: argparse.Namespace) -> Corpus:
    """Texts for a model of texts, images for one of images; for one of both what there is."""
    from jaxemb.data.corpus import LONG, SHORT, Corpus, read_corpus

    if as_texts(model, path, args):
        # Of about three characters a token, so that little is cut off.
        longest = LONG if model.max_length is None else min(LONG, max(3 * model.max_length, SHORT))
        found = read_corpus(path, column, endings(args), longest).filled()
    else:
        items, names = read(model, Path(path), column)
        where = names or [f"image {i}" for i in range(len(items))]
        found = Corpus(items, list(where), {"file": list(names)} if names else {}, texts=False)
    for remark in found.remarks:
        say(remark, "yellow")
    if not len(found.items):
        raise DataError(f"{path} is empty: there is no text in it")
    return found


def as_texts(model: Embedder, path: str, args: argparse.Namespace) -> bool:
    """Whether a model gets what lies there as texts. Of a folder with images and texts a model of both gets what is more; what is
    left out is said."""
    from jaxemb.data.corpus import ROWS
    from jaxemb.preprocess.image_files import ENDINGS, find_files

    some, both = endings(args), "image" in model.preprocess.spec
    if not takes_text(model):
        return False
    if not is_folder(path):
        if not both and Path(path).suffix.lower() in ENDINGS:
            raise DataError(f"{printable(path)} is an image, and {args.run} takes texts")
        return not both or Path(path).suffix.lower() in (*ROWS, *some)
    if is_beir(path):
        return True
    texts, images = len(find_files(path, some)), len(find_files(path))
    chosen = texts >= images or bool(args.files) or not both
    if texts and images and (both or images > texts):
        taken, left = ("text files", f"{images:,} images") if chosen else ("images", f"{texts:,} text files; --files takes them")
        say(f"{printable(path)}: of its {taken} alone; left out: {left}", "yellow")
    return not both or (texts > 0 and chosen)


def is_beir(path: str) -> bool:
    """Whether a folder has a file that is the corpus, so that no other is one."""
    from jaxemb.data.corpus import BEIR

    return is_regular(Path(path) / BEIR)


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


def asked(model: Embedder | None, ask: Ask, args: argparse.Namespace) -> Asked | None:
    """All queries that the command line gives; None: they are typed."""
    if args.query:
        return Asked(args.query, ask(args.query))
    if not args.queries:
        return None
    if is_array(args.queries) and (q := array_of(args.queries, "QUERIES")).ndim <= 2:
        q = q[None] if q.ndim == 1 else q
        if not len(q):
            raise DataError(f"{args.queries} has no row: there is nothing to ask")
        return Asked([f"{Path(args.queries).name}, row {i}" for i in range(len(q))], q)
    if model is None:
        raise ConfigError(f"{args.queries}: texts need a model to become vectors, and {args.run} is none; give vectors, an .npy")
    corpus = items_of(model, args.queries, args.query_column, args)
    prompt = args.query_prompt
    q = model.encode_query(corpus.items, prompt=prompt, batch_size=args.batch, show_progress_bar=console().is_terminal)
    return Asked(corpus.items if corpus.texts else corpus.where, q)


def try_out(index: Any, model: Embedder | None, ask: Ask, source: Source, given: Asked | None, args: argparse.Namespace) -> None:
    """Builds an index of a few drawn rows as wide as those of the corpus will be: what its settings do not fit is known before an
    hour of encoding. So are queries that it cannot compare."""
    import numpy as np

    from jaxemb.index.built import NO_ROWS
    from jaxemb.index.library import TooFewRows

    count = min(TRIED, len(source.corpus.where))
    if source.x is not None:
        if not count:
            raise DataError(f"{source.path}: {NO_ROWS}")
        width = checked(source.path, index.prepare, source.x[:count]).shape[-1]
    else:
        same = given is not None and not is_array(args.queries or "")  # the same model makes both
        width = np.shape(given.q[0] if given and same else probed(model, ask))[-1]
    if given is not None:
        of = source.path if model is None and not args.queries else args.queries
        queries = checked(of, index.prepare, given.q, 0, "query row")
        if queries.shape[-1] != width:
            raise DataError(f"{of or '--query'}: queries of {queries.shape[-1]} numbers, and the rows of this index have {width}")
    drawn = np.random.default_rng(0).normal(size=(count, 2, width)).astype(np.float32)
    rows = list(drawn) if index.texts else drawn[:, 0]
    if args.index:
        with contextlib.suppress(TooFewRows):
            index.build(rows)
    if (mesh := mesh_of(args)) is not None:
        try:
            index.build(rows, mesh=mesh).search(rows[:1], 1)
        except ConfigError as e:
            raise ConfigError(f"--devices {args.devices}: {e}") from e


def mesh_of(args: argparse.Namespace) -> Any:
    """The devices that --devices asks for: the rows are cut over them."""
    if (args.devices or 1) == 1:
        return None
    import jax

    return jax.make_mesh((args.devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def probe(model: Embedder, ask: Ask) -> Any:
    """By the vector of one thing it is seen whether queries still become what they were when a corpus was encoded."""
    return probed(model, ask).tolist()


def probed(model: Any, ask: Ask) -> Any:
    """The vector of something, or its matrix."""
    return ask([something(model)])[0]


def something(model: Embedder) -> Any:
    """A text, or an image that any model of images takes: light that grows towards a corner."""
    import numpy as np

    if takes_text(model):
        return PROBE
    h, w, c = model.preprocess.spec["images"].shape
    light = np.add.outer(np.linspace(0, 127, h), np.linspace(0, 127, w))
    return np.repeat(light[..., None], c, -1).astype(np.uint8)

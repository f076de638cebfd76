"""`jaxemb search`: what of a corpus is nearest to a query.

MODEL turns texts or images into vectors; an .npy in its place has them already: those of the corpus, and CORPUS says what its rows
are, or, where CORPUS has vectors itself, those of the queries.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from jaxemb.cli.encode import opened
from jaxemb.cli.search_rows import (
    Ask,
    Asked,
    asked,
    asker,
    checked,
    encoded,
    endings,
    index_for,
    is_array,
    is_beir,
    mesh_of,
    probe,
    something,
    source_of,
    try_out,
)
from jaxemb.cli.verbs import writing
from jaxemb.config import ConfigError, DataError, brief
from jaxemb.files import escape, exists, is_folder, is_regular, printable
from jaxemb.log.table import clean, console, error, say

if TYPE_CHECKING:
    from jaxemb.io.embedder import Embedder
    from jaxemb.io.searchable import Hit, Searchable

NARROW = 12
"""Characters of a name that stands beside its text; a longer one stands above it."""
MAKING = ("index", "column", "files", "save", "texts", "document_prompt")
"""Options of an index that is made; one that was saved has its own."""
OPENING = ("set", "query_prompt", "document_prompt")
"""Options of a model."""
BENCHED = ("where", "save")
"""Options that are none of --bench."""


class Search(NamedTuple):
    """What is searched, and for what."""

    found: Searchable
    ask: Ask
    given: Asked | None
    """None: queries are typed."""
    allow: Any


def search(args: argparse.Namespace) -> None:
    from jaxemb.index.base import check_k
    from jaxemb.io.searchable import is_saved

    check_k(args.k)
    check_files(args)
    model = None if is_array(args.run) else opened(args)
    if model is None:
        take_vectors_apart(args)
    if args.bench:
        from jaxemb.cli.search_bench import bench

        return bench(model, args)
    found, ask, given, allow = (saved if is_saved(args.corpus) else made)(model, args)
    with hits_file(args.out) as out:
        if given is None:
            return converse(model, found, ask, allow, out, args)
        for query, hits in zip(given.names, checked(args.queries, found.search, given.q, args.k, allow), strict=True):
            say(f"\n{shortened(query, args.chars)}", "bold")
            show(query, hits, args.chars, out)


def converse(model: Embedder | None, found: Searchable, ask: Ask, allow: Any, out: TextIO | None, args: argparse.Namespace) -> None:
    """Answers what is typed or comes from a pipe; a question that cannot be answered does not end the others."""
    if model is not None:
        found.search(ask([something(model)]), args.k, allow)  # compiles
    piped, failed, count = not sys.stdin.isatty(), 0, 0
    for line in typed():
        count += 1
        try:
            if isinstance(line, DataError):
                raise line
            if piped:
                say(f"\n{shortened(line, args.chars)}", "bold")
            show(line, found.search(ask([line]), args.k, allow)[0], args.chars, out)
        except (ConfigError, DataError) as e:
            failed += 1
            error(str(e))
    if piped and failed:
        raise DataError(f"{failed} of {count} questions were not answered")


def check_files(args: argparse.Namespace) -> None:
    """What is found out before a model is read."""
    from jaxemb.io.searchable import check_place

    for name in ("corpus", "queries", "texts"):
        if (given := getattr(args, name)) and not exists(given):
            raise DataError(f"{name.upper()}: there is no file or folder {printable(given)}")
    if is_regular(args.run) and not is_array(args.run):
        raise ConfigError(
            f"MODEL: {printable(args.run)} is neither a model (a run, a pretrained folder, an id of the hub) nor vectors, an .npy"
        )
    ending = ".csv" if args.bench else ".jsonl"
    if args.out and Path(args.out).suffix != ending:
        raise ConfigError(f"--out must be the name of a {ending} file, not {args.out!r}")
    if len(args.index) > 1 and not args.bench:
        raise ConfigError("one --index is searched; with --bench several are compared")
    useless = [(name, "--bench measures whole indexes") for name in BENCHED if args.bench]
    useless += [(name, f"{args.run} has vectors already") for name in OPENING if is_array(args.run)]
    for name, why in useless:
        if getattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')}: {why}, which have no use for it")
    check_queries(args)
    folders = [p for p in (args.corpus, args.queries, args.texts) if p and is_folder(p) and not is_beir(p)]
    if args.files and not folders:
        raise ConfigError(f"--files says which files of a folder are texts, and {args.corpus} is no folder of text files")
    if args.save:
        with writing(Path(args.save)):
            check_place(args.save)
    if args.out:
        check_out(Path(args.out))


def check_queries(args: argparse.Namespace) -> None:
    """Options about queries, and those that the command line has."""
    if args.queries and args.query:
        raise ConfigError("QUERIES and --query: give one of them")
    if args.query_column and (not args.queries or is_array(args.queries)):
        what = f"{args.queries} has vectors" if args.queries else "there is none"
        raise ConfigError(f"--query-column names a column of the file QUERIES, and {what}")
    if args.chars < 1:
        raise ConfigError(f"--chars must be at least 1, not {args.chars}")
    for query in args.query:
        if not query.strip():
            raise ConfigError("--query: an empty query asks for nothing")
        try:
            query.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"--query {printable(query)}: this is no UTF-8") from None


def check_out(file: Path) -> None:
    """Whether a file can be written, which is not touched yet."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        code = errno.EISDIR if is_folder(file) else errno.EACCES
        if code == errno.EISDIR or not os.access(file if exists(file) else file.parent, os.W_OK):
            raise OSError(code, os.strerror(code))


def take_vectors_apart(args: argparse.Namespace) -> None:
    """Without a model: where CORPUS has vectors, those of the first argument are the queries."""
    from jaxemb.io.searchable import is_saved

    if not (is_array(args.corpus) or is_saved(args.corpus)):
        return
    if args.queries or args.query:
        raise ConfigError(f"{args.run} are the queries, as {args.corpus} has vectors itself: there is no room for others")
    args.queries = args.run


# ---- the corpus ------------------------------------------------------------------------------------------------------------------


def made(model: Embedder | None, args: argparse.Namespace) -> Search:
    """CORPUS as an index, saved where that is asked for. All that can be wrong is looked at before anything long begins."""
    from jaxemb.data.corpus import state_of
    from jaxemb.index.conditions import all_of
    from jaxemb.index.tags import columns
    from jaxemb.io.searchable import Searchable

    index = index_for(model, args.index[0] if args.index else None)
    state = state_of(args.corpus, endings(args))
    source = source_of(model, args)
    corpus, ask = source.corpus, asker(model, source.x, args.query_prompt)
    allow = all_of(args.where, columns(corpus.tags, len(corpus.where)), corpus.others)
    given = asked(model, ask, args)
    try_out(index, model, ask, source, given, args)
    start = time.perf_counter()
    x, tags, mesh = encoded(model, source, args), corpus.tags, mesh_of(args)
    built = checked(source.path, lambda: index.build(x, tags, mesh=mesh))
    seconds = time.perf_counter() - start
    origin: dict[str, Any] = {"model": args.run, "query_prompt": args.query_prompt, "state": state, "others": dict(corpus.others)}
    origin |= {"corpus": str(Path(args.corpus).absolute()), "endings": list(endings(args))}
    found = Searchable(built, corpus.where, corpus.items if corpus.texts else (), origin)
    say(
        f"{len(built):,} rows of {args.corpus}, {brief(index)}, {built.nbytes() / len(built):.4g} bytes a row, {seconds:.1f} s",
        "dim",
    )
    if args.save:
        if model is not None:
            found.origin["probe"] = probe(model, ask)
        with writing(Path(args.save)):
            found.save(args.save)
        say(f"{args.save}: the index, to be searched in the place of {args.corpus}", "dim")
    return Search(found, ask, given, allow)


def saved(model: Embedder | None, args: argparse.Namespace) -> Search:
    """CORPUS as an index that was saved."""
    from jaxemb.index.conditions import all_of

    found, ask = loaded(model, args)
    allow = all_of(args.where, found.built.tags, found.origin.get("others"))
    return Search(found, ask, asked(model, ask, args), allow)


def loaded(model: Embedder | None, args: argparse.Namespace) -> tuple[Searchable, Ask]:
    """An index that was saved, if this is the model that it was made with."""
    import numpy as np

    from jaxemb.data.corpus import state_of
    from jaxemb.io.searchable import load_searchable

    if given := [name for name in MAKING if getattr(args, name) and not (args.bench and name == "index")]:
        raise ConfigError(f"--{given[0].replace('_', '-')}: {args.corpus} is an index already; give what it was made of")
    found = load_searchable(args.corpus, mesh=mesh_of(args))
    o = found.origin
    if model is not None and "probe" in o:  # with the prompt of then, whichever is asked for now
        now, then = (np.asarray(x, np.float32) for x in (probe(model, asker(model, None, o["query_prompt"])), o["probe"]))
        if now.shape != then.shape or np.linalg.norm(now - then) > 0.02 * np.linalg.norm(then):
            raise ConfigError(
                f"{args.corpus} was made with {o['model']}, and {args.run} gives other vectors: no distance means a thing"
            )
    if not o:
        say(f"{args.corpus} is an index alone: what its rows are, and of which model, nothing says", "yellow")
    args.query_prompt = o.get("query_prompt") if args.query_prompt is None else args.query_prompt
    state = state_of(o["corpus"], o["endings"]) if o else ""
    if state and state != o["state"]:
        say(f"{o['corpus']} has changed since {args.corpus} was made of it: search it again with --save", "yellow")
    return found, asker(model, None, args.query_prompt)


def typed() -> Iterator[str | DataError]:
    """Lines of the terminal, up to one that is empty; of a pipe all that are not, or what is wrong with one."""
    if not sys.stdin.isatty():
        for number, line in enumerate(getattr(sys.stdin, "buffer", sys.stdin), 1):
            try:
                text = (line.decode("utf-8-sig") if isinstance(line, bytes) else line).strip()
            except UnicodeDecodeError:
                yield DataError(f"standard input, line {number}: this is no UTF-8")
                continue
            if text:
                yield text
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (input() has the keys of an editor then)
    say("ask what you look for; an empty line ends", "dim")
    while True:
        try:
            line = input("\n? ").strip()
        except EOFError:
            return
        if not line:
            return
        yield line


# ---- hits ------------------------------------------------------------------------------------------------------------------------


def show(query: str, hits: Sequence[Hit], chars: int, out: TextIO | None) -> None:
    """What was found, on the screen, and with the query in a file."""
    if not hits:
        say("nothing that --where allows")
    width = console().width if console().is_terminal else None
    beside = max((len(escape(hit.where)) for hit in hits), default=0)
    for hit in hits:
        name, text = escape(hit.where), shortened(hit.text, chars)
        lines = [name.ljust(beside) + f"  {text}" if text and beside <= NARROW else name]
        if text and beside > NARROW:
            lines.append(text)
        margin = 9 + (beside + 2 if beside <= NARROW else 0)  # behind the score
        folded = [part for line in lines for part in (textwrap.wrap(line, max(width - margin, 20)) if width else [line])]
        say(f"{hit.score:7.3f}  {folded[0]}".rstrip())
        for line in folded[1:]:
            say(" " * margin + line)
    if out is not None:
        found = [{"score": h.score, "row": h.row, "where": h.where} | ({"text": h.text} if h.text else {}) for h in hits]
        out.write(json.dumps({"query": query, "hits": found}, ensure_ascii=False) + "\n")
        out.flush()


def shortened(text: str, chars: int) -> str:
    """In one line."""
    line = clean(" ".join(text.split()))
    return line if len(line) <= chars else f"{line[: max(chars - 1, 1)].rstrip()}…"


@contextlib.contextmanager
def hits_file(out: str | None) -> Iterator[TextIO | None]:
    if out is None:
        yield None
        return
    with writing(Path(out)):
        file = open(out, "w", encoding="utf-8")
    with file:
        yield file

"""`jaxemb search`: what of a corpus is nearest to a query.

MODEL turns texts or images into vectors; an .npy in its place has them already: those of the corpus, and CORPUS says what its rows
are, or, where CORPUS has vectors itself, those of the queries.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jaxemb.cli.encode import opened
from jaxemb.cli.search_rows import Ask, asked, asker, checked, endings, index_for, is_array, probe, rows_of, something
from jaxemb.cli.verbs import writing
from jaxemb.config import ConfigError, brief
from jaxemb.files import exists, printable
from jaxemb.log.table import clean, console, error, say
from jaxemb.preprocess.base import DataError

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


def search(args: argparse.Namespace) -> None:
    from jaxemb.index.base import check_k
    from jaxemb.index.conditions import all_of

    check_k(args.k)
    check_files(args)
    model = None if is_array(args.run) else opened(args)
    if model is None:
        take_vectors_apart(args)
    if args.bench:
        from jaxemb.cli.search_bench import bench

        return bench(model, args)
    found, ask = searchable(model, args)
    allow = all_of(args.where, found.built.tags)
    with hits_file(args.out) as out:
        if args.queries or args.query:
            names, q = asked(model, ask, args)
            for query, hits in zip(names, checked(args.queries, found.search, q, args.k, allow), strict=True):
                say(f"\n{shortened(query, args.chars)}", "bold")
                show(query, hits, args.chars, out)
            return
        if model is not None:
            found.search(ask([something(model)]), args.k, allow)  # compiles
        for line in typed():
            if not sys.stdin.isatty():
                say(f"\n{shortened(line, args.chars)}", "bold")
            try:
                show(line, found.search(ask([line]), args.k, allow)[0], args.chars, out)
            except (ConfigError, DataError) as e:  # the next question may be a better one
                if not sys.stdin.isatty():
                    raise
                error(str(e))


def check_files(args: argparse.Namespace) -> None:
    """What is found out before a model is read."""
    for name in ("corpus", "queries", "texts"):
        if (given := getattr(args, name)) and not exists(given):
            raise DataError(f"{name.upper()}: there is no file or folder {printable(given)}")
    if args.queries and args.query:
        raise ConfigError("QUERIES and --query: give one of them")
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


def take_vectors_apart(args: argparse.Namespace) -> None:
    """Without a model: where CORPUS has vectors, those of the first argument are the queries."""
    from jaxemb.io.searchable import is_saved

    if not (is_array(args.corpus) or is_saved(args.corpus)):
        return
    if args.queries or args.query:
        raise ConfigError(f"{args.run} are the queries, as {args.corpus} has vectors itself: there is no room for others")
    args.queries = args.run


# ---- the corpus ------------------------------------------------------------------------------------------------------------------


def searchable(model: Embedder | None, args: argparse.Namespace) -> tuple[Searchable, Ask]:
    """CORPUS as an index, saved where that is asked for, and what makes vectors of queries."""
    from jaxemb.data.corpus import state_of
    from jaxemb.io.searchable import Searchable, is_saved

    if is_saved(args.corpus):
        return loaded(model, args)
    index = index_for(model, args.index[0] if args.index else None)
    state = state_of(args.corpus, endings(args))
    rows = rows_of(model, args)
    start = time.perf_counter()
    built = checked(args.corpus, index.build, rows.x, rows.corpus.tags)
    seconds = rows.seconds + time.perf_counter() - start
    ask = asker(model, rows.x, args.query_prompt)
    origin: dict[str, Any] = {"model": args.run, "query_prompt": args.query_prompt, "state": state}
    origin |= {"corpus": str(Path(args.corpus).absolute()), "endings": list(endings(args))}
    texts = rows.corpus.items if rows.corpus.texts else ()
    found = Searchable(built, rows.corpus.where, texts, origin)
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
    return found, ask


def loaded(model: Embedder | None, args: argparse.Namespace) -> tuple[Searchable, Ask]:
    """An index that was saved, if this is the model that it was made with."""
    import numpy as np

    from jaxemb.data.corpus import state_of
    from jaxemb.io.searchable import load_searchable

    if given := [name for name in MAKING if getattr(args, name) and not (args.bench and name == "index")]:
        raise ConfigError(f"--{given[0].replace('_', '-')}: {args.corpus} is an index already; give what it was made of")
    found = load_searchable(args.corpus)
    o = found.origin
    args.query_prompt = o.get("query_prompt") if args.query_prompt is None else args.query_prompt
    ask = asker(model, None, args.query_prompt)
    if model is not None and "probe" in o and args.query_prompt == o["query_prompt"]:
        now, then = (np.asarray(x, np.float32) for x in (probe(model, ask), o["probe"]))
        if now.shape != then.shape or np.linalg.norm(now - then) > 0.02 * np.linalg.norm(then):
            raise ConfigError(
                f"{args.corpus} was made with {o['model']}, and {args.run} gives other vectors: no distance means a thing"
            )
    state = state_of(o["corpus"], o["endings"]) if o else ""
    if state and state != o["state"]:
        say(f"{o['corpus']} has changed since {args.corpus} was made of it: search it again with --save", "yellow")
    return found, ask


def typed() -> Iterator[str]:
    """Lines of the terminal, up to one that is empty; of a pipe all that are not."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
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
    beside = max((len(hit.where) for hit in hits), default=0)
    for hit in hits:
        name, text = clean(hit.where), shortened(hit.text, chars)
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

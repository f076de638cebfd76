"""`jaxemb search --bench`: what an index finds of the nearest rows, how fast, and what it takes to keep."""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from jaxemb.cli.search_rows import Asked, asked, asker, checked, encoded, index_for, mesh_of, source_of, try_out
from jaxemb.cli.verbs import writing
from jaxemb.config import ConfigError, brief
from jaxemb.log.table import say, table

if TYPE_CHECKING:
    from jaxemb.index.built import Built
    from jaxemb.io.embedder import Embedder

BATCHES = (1, 1024)
SECONDS = 1.0
"""That a batch is searched again and again, at least three times."""


def bench(model: Embedder | None, args: argparse.Namespace) -> None:
    """A row for each --index, beside the exact search that recall is measured by."""
    indexes = [index_for(model, text) for text in (None, *args.index)]
    x, path, given = vectors(model, indexes, args)
    own, q = None, cast(Any, given and given.q)
    if given is None:
        own = drawn(len(x), max(BATCHES))
        q = [x[i] for i in own] if isinstance(x, list) else x[own]
    rows, truth, mesh = [], None, mesh_of(args)
    for index in indexes:
        start = time.perf_counter()
        built = checked(path, lambda index=index: index.build(x, mesh=mesh))
        seconds = time.perf_counter() - start
        ids = nearest(built, q, args.k, own)
        truth = ids if truth is None else truth
        speeds = [queries_a_second(built, q, n, args.k) for n in BATCHES]
        rows.append((brief(index), recall(ids, truth), *speeds, seconds, built.nbytes() / len(built)))
    of = "rows of the corpus as queries, none of which finds itself" if own is not None else "queries"
    say(f"{len(x):,} rows, {len(q):,} {of}")
    columns = ("index", f"recall@{args.k}", *(f"queries/s at {n}" for n in BATCHES), "build s", "bytes a row")
    table((columns[0], *(f">{name}" for name in columns[1:])), rows)
    if args.out:
        with writing(Path(args.out)), open(args.out, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *((row[0], *(f"{v:.5g}" for v in row[1:])) for row in rows)])
        say(f"{args.out}: the table")


def drawn(count: int, most: int) -> np.ndarray:
    """Numbers of rows from a seed, rising: the first ones of a corpus are often of one file."""
    return np.sort(np.random.default_rng(0).choice(count, min(count, most), replace=False))


def vectors(model: Embedder | None, indexes: Sequence[Any], args: argparse.Namespace) -> tuple[Any, str, Asked | None]:
    """(those of CORPUS, the file that they are of, queries); of an index that was saved the ones that it keeps, if these are
    whole."""
    from jaxemb.cli.search import loaded
    from jaxemb.index.exact import Exact
    from jaxemb.io.searchable import is_saved

    if not is_saved(args.corpus):
        source = source_of(model, args)
        ask = asker(model, source.x, args.query_prompt)
        given = asked(model, ask, args)
        for index in indexes:
            try_out(index, model, ask, source, given, args)
        return encoded(model, source, args), source.path, given
    found, ask = loaded(model, args)
    if not isinstance(found.built.index, Exact):
        raise ConfigError(
            f"{args.corpus} keeps codes ({brief(found.built.index)}), no vectors to build others of: give what it was made of"
        )
    x = found.built.index.decode(found.built.kept.learned, found.built.host_rows())
    return x, args.corpus, asked(model, ask, args)


def nearest(built: Built, q: Any, k: int, own: np.ndarray | None = None) -> np.ndarray:
    """The ids of the k best rows of each query; where queries are rows, with the numbers `own`, of those that are others."""
    ids = built.search(q, k + (own is not None)).ids
    if own is None:
        return ids
    others = ids != own[:, None]
    order = np.argsort(~others, axis=1, kind="stable")
    return np.take_along_axis(np.where(others, ids, -1), order, 1)[:, :k]


def recall(ids: np.ndarray, truth: np.ndarray) -> float:
    """The share of the nearest rows that is found."""
    return float(np.mean([len(set(a) & set(b) - {-1}) / max(len(set(b) - {-1}), 1) for a, b in zip(ids, truth, strict=True)]))


def queries_a_second(built: Built, q: Any, batch: int, k: int) -> float:
    """The median of several searches, of queries that repeat where there are fewer than a batch."""
    which = [i % len(q) for i in range(batch)]
    some = [q[i] for i in which] if isinstance(q, list) else q[which]
    built.search(some, k)  # compiles
    times, began = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        built.search(some, k)
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)

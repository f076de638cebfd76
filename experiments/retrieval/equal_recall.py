"""Queries a second of indexes that find as much: the cheapest setting of each that reaches a recall@10 of .9, .95 and .99.

    taskset -c 0,1 python -m experiments.retrieval.equal_recall [--threads 2]      results/retrieval_equal_recall.csv
    python -m experiments.retrieval.equal_recall --table                           a table in Markdown

`planted`: 100 000 vectors of 384 numbers around 10 000 centres, which makes lists and graphs easy. `sentences`: STS-B's 14 457 as
vectors of all-MiniLM-L6-v2, which have no such centres. Recall is the share of the ten best of exact search that is found, of 256
queries. Then all systems are timed in turns, on the same threads, with one query a call and with 1 024: the median over rounds by
the clock, and the CPU time of a query, which others who use the machine disturb less.

    Exact, faiss Flat                  every row
    IVF, faiss IVF                     root(rows) lists; probes 1, 2, 4, ...
    bits, PQ 48 bytes, RaBitQ          candidates by codes, their order by float32 (bits also by int8); 1, 2, 4, ... times ten
    hnswlib, faiss HNSW32, usearch     graphs; ef 10, 16, 32, ...
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.retrieval.filters import sentences
from experiments.retrieval.lab import CACHE, DATA, overlap, planted
from experiments.text.rows import Row, command_of, refuse_trial, save
from jaxemb.index import IVF, PQ, Binary, Exact, FaissIndex, HNSWLib, RaBitQ, Rerank, USearch
from jaxemb.index.base import Index
from jaxemb.index.built import Built
from jaxemb.index.library import LibraryError

OUT = Path(__file__).parents[2] / "results" / "retrieval_equal_recall.csv"
K, SEEN = 10, 256
TARGETS = (0.9, 0.95, 0.99)
ROWS, BATCH = 100_000, 1024
POWERS = tuple(2**i for i in range(10))


class System(NamedTuple):
    """An index, and the field that finds more at the price of time."""

    index: Index
    field: str = ""
    values: tuple[int, ...] = (0,)


class Chosen(NamedTuple):
    """An index with rows, at the setting that reaches a recall."""

    built: Built
    setting: int
    recall: float


def systems(rows: int, threads: int) -> dict[str, System]:
    """By name."""
    lists = round(math.sqrt(rows))
    probes = ("probes", tuple(p for p in POWERS if p <= lists))
    times = ("times", POWERS[:8])
    ef = ("ef", (10, *POWERS[4:]))
    codes = min(256, rows)
    return {
        "Exact": System(Exact()),
        "IVF": System(IVF(lists=lists), *probes),
        "bits, then float32": System(Rerank(first=Binary(), second=Exact()), *times),
        "bits, then int8": System(Rerank(first=Binary()), *times),
        "PQ, then float32": System(Rerank(first=PQ(parts=48, sample=32 * codes, rounds=10), second=Exact()), *times),
        "RaBitQ, then float32": System(Rerank(first=RaBitQ(), second=Exact()), *times),
        "faiss Flat": System(FaissIndex(factory="Flat", threads=threads)),
        "faiss IVF": System(FaissIndex(factory=f"IVF{lists},Flat", threads=threads), *probes),
        "faiss HNSW32": System(FaissIndex(factory="HNSW32", threads=threads), *ef),
        "hnswlib": System(HNSWLib(threads=threads), *ef),
        "usearch": System(USearch(threads=threads), *ef),
    }


def data(name: str, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """(rows, queries)."""
    if name == "sentences":
        rows, queries = sentences(args.data, args.cache)
        return rows, np.resize(queries, (BATCH, queries.shape[1]))
    s = planted(args.rows, args.width, BATCH)
    return s.documents, s.queries


def chosen(system: System, built: Built, q: np.ndarray, truth: np.ndarray) -> Iterator[tuple[float, Chosen]]:
    """For each recall that is reached the first setting that reaches it."""
    open_ = list(TARGETS)
    for value in system.values:
        index = dataclasses.replace(built.index, **{system.field: value}) if system.field else built.index
        own = dataclasses.replace(built, index=index)
        recall = overlap(own.search(q, K).ids, truth)
        while open_ and recall >= open_[0]:
            yield open_.pop(0), Chosen(own, value, recall)
        if not open_:
            return


def timed(found: dict[Any, Chosen], q: np.ndarray, args: argparse.Namespace) -> dict[Any, dict[str, float]]:
    """Queries a second of each, in turns."""
    calls: dict[str, Callable[[Built], Any]] = {
        f"of {BATCH}": lambda built: built.search(q, K),
        "of 1": lambda built: [built.search(q[i : i + 1], K) for i in range(args.calls)],
    }
    size = {f"of {BATCH}": len(q), "of 1": args.calls}
    seen: dict[Any, dict[str, list[tuple[float, float]]]] = {key: {name: [] for name in calls} for key in found}
    for one in found.values():
        for call in (q, q[:1]):
            one.built.search(call, K)  # compiles
    for r in range(args.rounds):
        for key in list(found)[:: 1 if r % 2 else -1]:
            for name, call in calls.items():
                wall, cpu = time.perf_counter(), time.process_time()
                call(found[key].built)
                seen[key][name].append((time.perf_counter() - wall, time.process_time() - cpu))
        print(f"round {r + 1} of {args.rounds}", flush=True)
    figures = {}
    for key, by in seen.items():
        figures[key] = {}
        for name, times in by.items():
            wall, cpu = np.median(times, axis=0)
            figures[key] |= {f"queries/s {name}": size[name] / wall, f"CPU ms {name}": 1000 * cpu / size[name]}
    return figures


def study(name: str, args: argparse.Namespace) -> list[Row]:
    """All systems on one set of rows."""
    x, q = data(name, args)
    few = q[:SEEN]
    truth = Exact().build(x).search(few, K).ids
    rows: list[Row] = []
    found: dict[tuple[str, int], Chosen] = {}
    reached: dict[tuple[str, float], tuple[str, int]] = {}
    wanted = systems(len(x), args.threads)
    for system in args.systems.split(";") if args.systems else wanted:
        began = time.perf_counter()
        try:
            built = wanted[system].index.build(x)
        except LibraryError as e:
            print(f"without {system}: {e}")
            continue
        rows += [(name, system, 0, "build s", time.perf_counter() - began), (name, system, 0, "bytes", built.nbytes() / len(x))]
        for target, one in chosen(wanted[system], built, few, truth):
            found.setdefault((system, one.setting), one)
            reached[system, target] = (system, one.setting)
        best = max((t for s, t in reached if s == system), default=0.0)
        print(f"{name}: {system}, {time.perf_counter() - began:.0f} s, reaches {best}", flush=True)
    figures = timed(found, q, args)
    for (system, target), key in reached.items():
        own = {"setting": float(found[key].setting), "recall@10": found[key].recall, **figures[key]}
        rows += [(name, system, 0, f"{figure} at {target}", value) for figure, value in own.items()]
    return rows


def table(rows: Sequence[tuple[str, str, str, float]]) -> str:
    """In Markdown: (set, system, figure, value)."""
    values = {(part, system, figure): value for part, system, figure, value in rows}
    lines = []
    for part in dict.fromkeys(part for part, *_ in rows):
        sizes = ("of 1", f"of {BATCH}")
        head = [part, "bytes a row", "build s", *(f"{size}, {t}" for size in sizes for t in TARGETS)]
        lines += ["", "| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
        for system in dict.fromkeys(s for p, s, *_ in rows if p == part):
            figures = ("bytes", "build s", *(f"queries/s {size} at {t}" for size in sizes for t in TARGETS))
            shown = (values.get((part, system, figure)) for figure in figures)
            lines.append("| " + " | ".join([system, *("" if v is None else f"{v:,.0f}" for v in shown)]) + " |")
    return "\n".join(lines[1:])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", default="planted,sentences", help="with commas (default %(default)s)")
    parser.add_argument("--systems", default="", help="some of them, between semicolons")
    parser.add_argument("--threads", type=int, default=2, help="of every system (default 2)")
    parser.add_argument("--rows", type=int, default=ROWS, help="planted")
    parser.add_argument("--width", type=int, default=384, help="planted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=50, help="of one query, in a round")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="the table --out in Markdown, and no run")
    parser.set_defaults(seeds=1)
    args = parser.parse_args(argv)
    if not args.table:
        refuse_trial(parser, args, "sets", "systems", "rows", "width", "rounds", "calls")
        cores = sorted(os.sched_getaffinity(0))
        if args.threads > len(cores):
            parser.error(f"--threads {args.threads}, and this process may use {len(cores)} cores")
        os.sched_setaffinity(0, cores[: args.threads])  # JAX has a thread a core; it starts them when it first computes
        rows: list[Row] = []
        for name in args.sets.split(","):
            rows += study(name, args)
            save(rows, args.out, command_of("equal_recall", argv, "retrieval"))
    with args.out.open() as file:
        print(table([(r["part"], r["system"], r["figure"], float(r["mean"])) for r in csv.DictReader(file)]))


if __name__ == "__main__":
    main()

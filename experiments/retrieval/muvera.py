"""How many candidates find what MaxSim would find: MUVERA's encodings beside searching for each token of the query.

    python -m experiments.retrieval.muvera [--data shared/data] [--seeds 3]        results/retrieval_muvera.csv
    python -m experiments.retrieval.muvera --table

`cranfield`: the tokens of all-MiniLM-L6-v2, abstracts cut at 96. `topics`: 2 000 documents of 40 tokens of 8 topics out of 300, and
200 queries of 12 tokens of a document with noise, of 64 numbers. The truth is exact MaxSim (Chamfer) of all documents; each proxy
puts the documents in an order:

    heuristic      each token of the query looks for the nearest tokens of documents; documents as they come, once each, in the
                   order of scores, or of ranks (all the first, all the second, ...); or each hit counted ("no dedup")
    pooled         products of the means of the tokens
    FDE (r, k, p)  products of encodings of r repetitions, k planes and p numbers of a token
    no cells       of as many numbers with k = 0: the mean alone, many times projected

Figures: `best in N`, how often MaxSim's first is among the first N; `top 10 in N`, the share of its first ten; `candidates for
90 %` of these, and `fewer`, how many times fewer these are than those of the heuristic by scores; `ndcg@10` on the judgements, of
the order itself and with the first 100 put in the order of MaxSim. Seeds are of planes and matrices, and of the topics.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.retrieval.lab import CACHE, DATA, ranked, texts, token_matrices
from experiments.text.rows import Row, command_of, refuse_trial, save
from jaxemb.data.beir import Collection
from jaxemb.index import MUVERA, PQ
from jaxemb.index.late_interaction import padded_texts
from jaxemb.metrics.ranking import ndcg
from jaxemb.ops.fde import carve, count_sketch, encode_document, encode_query
from jaxemb.ops.similarity import unit

OUT = Path(__file__).parents[2] / "results" / "retrieval_muvera.csv"
HITS = 200
"""Nearest tokens that each token of a query looks for, where hits are counted."""
RERANKED = 100
SHARES = (0.8, 0.9, 0.95)
BEST, TEN = (1, 5, 10, 20, 50), (10, 50, 100)


class FDE(NamedTuple):
    """Encodings, and what is changed about them."""

    index: MUVERA
    sums: bool = False
    """Of documents too, in place of means."""
    parts: int | None = None
    """Of eight numbers each, of PQ with a byte a part."""


def fdes() -> dict[str, FDE]:
    """Those of the paper's sizes, each beside one without cells; and what is changed one by one."""
    found = {}
    for k, p in ((3, 8), (4, 8), (5, 8), (5, 16), (4, 32)):
        found[f"FDE (20, {k}, {p})"] = FDE(MUVERA("dot", 20, k, p))
    for length in (1280, 2560, 5120, 10240):
        found[f"no cells, {length}"] = FDE(MUVERA("dot", 20, 0, length // 20))
    small, large = MUVERA("dot", 20, 4, 8), MUVERA("dot", 20, 5, 16)
    for index in (small, large):
        name, length = f"({index.repetitions}, {index.planes}, {index.projected})", index.repetitions * 2**index.planes
        found[f"{name}, documents summed"] = FDE(index, sums=True)
        found[f"{name}, not filled"] = FDE(dataclasses.replace(index, fill=False))
        found[f"{name}, query carved at .7"] = FDE(dataclasses.replace(index, carved=0.7))
        found[f"{name}, PQ of 8 numbers"] = FDE(index, parts=length * (index.projected or 0) // 8)
    found["(20, 5, 8), sketched to 1280"] = FDE(MUVERA("dot", 20, 5, 8, sketched=1280))
    found["(20, 5, 16), sketched to 2560"] = FDE(dataclasses.replace(large, sketched=2560))
    return found


class Tokens(NamedTuple):
    """Texts with a vector a token, of length 1; zeros are padding."""

    queries: Float[np.ndarray, "q t d"]
    documents: Float[np.ndarray, "n s d"]
    pooled: tuple[Float[np.ndarray, "q d"], Float[np.ndarray, "n d"]]
    judged: Collection | None


def cranfield(data: Path, cache: Path) -> Tokens:
    queries, documents = token_matrices("cranfield", data, cache)
    pooled = unit(np.stack([x.mean(0) for x in queries.each])), unit(np.stack([x.mean(0) for x in documents.each]))
    q, d = (padded_texts([unit(x) for x in side.each], max(map(len, side.each))) for side in (queries, documents))
    return Tokens(q, d, pooled, texts("cranfield", data))


def topics(seed: int, documents: int = 2000, queries: int = 200, noise: float = 0.7) -> Tokens:
    """Tokens are a topic and noise of the length `noise`; those of queries are tokens of a document with noise once more."""
    rng = np.random.default_rng(seed)

    def noisy(x: np.ndarray) -> Float[np.ndarray, "... d"]:
        return unit(x + noise * unit(rng.standard_normal(x.shape))).astype(np.float32)

    every = unit(rng.standard_normal((300, 64)))
    own = np.argsort(rng.random((documents, 300)), axis=1)[:, :8]
    d = noisy(every[np.take_along_axis(own, rng.integers(0, 8, (documents, 40)), 1)])
    which = np.argsort(rng.random((queries, 40)), axis=1)[:, :12]
    q = noisy(d[rng.choice(documents, queries, replace=queries > documents)[:, None], which])
    return Tokens(q, d, (unit(q.mean(1)), unit(d.mean(1))), None)


# ---- the truth, and orders -------------------------------------------------------------------------------------------------------

Places = Float[np.ndarray, "q n"]
"""How many candidates come before a document, of each query."""


class Truth(NamedTuple):
    chamfer: Float[np.ndarray, "q n"]
    places: dict[str, Places]
    """Of the heuristics."""


def truth(t: Tokens) -> Truth:
    """MaxSim of all, and the heuristics, which need the same products."""
    real = t.documents.any(2)
    rows, count = t.documents[real], real.sum(1)
    starts, owner = np.cumsum(count) - count, np.repeat(np.arange(len(count)), count)
    chamfer, by_score, by_rank, hits = [], [], [], []
    for query in t.queries:
        products = query[query.any(1)] @ rows.T
        best = np.maximum.reduceat(products, starts, axis=1)
        chamfer.append(best.sum(0))
        by_score.append(-best.max(0))
        by_rank.append((order_of(-best) + (1 - best) / 4).min(0))  # of equal ranks the higher score, a cosine, comes first
        hits.append(first_hits(products, owner, len(count)))
    found = {"heuristic, by scores": by_score, "heuristic, by ranks": by_rank}
    places = {name: order_of(np.stack(keys)).astype(np.float64) for name, keys in found.items()}
    return Truth(np.stack(chamfer), places | {"heuristic, no dedup": np.stack(hits)})


def first_hits(products: Float[np.ndarray, "t r"], owner: np.ndarray, count: int) -> Float[np.ndarray, " n"]:
    """Hits before the first one of each document: those of all tokens in turn, of equal ranks the higher score first."""
    near = np.argpartition(-products, min(HITS, products.shape[1] - 1), axis=1)[:, :HITS]
    scores = np.take_along_axis(products, near, 1)
    by = np.argsort(-scores, axis=1)
    near, scores = np.take_along_axis(near, by, 1), np.take_along_axis(scores, by, 1)
    turn = np.argsort(-scores, axis=0)
    documents, first = np.unique(owner[np.take_along_axis(near, turn, 0)].T.reshape(-1), return_index=True)
    places = np.full(count, np.inf)
    places[documents] = first
    return places


def order_of(keys: Float[np.ndarray, "q n"]) -> np.ndarray:
    """The rank of each entry of a row, the smallest first; of equals the first."""
    return np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1, kind="stable")


def places_of(t: Tokens, fde: FDE, seed: int) -> Places:
    """The order of products of encodings."""
    index = dataclasses.replace(fde.index, seed=seed)
    draws = index.draws(t.queries.shape[2], np.float32)
    settings = (index.fill, fde.sums, index.sketched, index.carved)
    q, d = (np.asarray(encodings(side, *settings, draws, x)) for side, x in (("query", t.queries), ("document", t.documents)))
    if fde.parts is None:
        return order_of(-(q @ d.T)).astype(np.float64)
    ids = PQ("dot", parts=fde.parts, rounds=10, seed=seed).build(d).search(q, len(d)).ids
    return np.argsort(ids, axis=1).astype(np.float64)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def encodings(side: str, fill: bool, sums: bool, sketched: int | None, carved: float | None, draws: Any, x: Any) -> Any:
    planes, inner = draws["planes"], draws["inner"]

    def one(x: Any) -> Any:
        real = x.any(1)
        if side == "document" and not sums:
            return encode_document(x, real, planes, inner, fill)
        if side == "query" and carved is not None:
            x, real = carve(x, real, carved)
        return encode_query(x, real, planes, inner)

    found = jax.lax.map(one, jnp.asarray(x), batch_size=16)
    return found if sketched is None else count_sketch(found, draws["into"], draws["sign"], sketched)


# ---- figures ---------------------------------------------------------------------------------------------------------------------


def figures(places: Places, of: Truth, judged: Collection | None) -> dict[str, float]:
    """What an order finds of the truth."""
    ten = np.argsort(-of.chamfer, axis=1, kind="stable")[:, :10]
    at = np.take_along_axis(places, ten, 1)
    found = {f"best in {n}": float((at[:, 0] < n).mean()) for n in BEST}
    found |= {f"top 10 in {n}": float((at < n).mean()) for n in TEN}
    found |= {f"candidates for {100 * s:.0f} %": needed(at, s) for s in SHARES}
    base = np.take_along_axis(of.places["heuristic, by scores"], ten, 1)
    found |= {f"fewer for {100 * s:.0f} %": needed(base, s) / needed(at, s) for s in SHARES}
    if judged is not None:
        scores = {"ndcg@10": -places, "ndcg@10 reranked": np.where(places < RERANKED, of.chamfer, -np.inf)}
        for name, s in scores.items():
            found[name] = float(ndcg(ranked(np.argsort(-s, axis=1, kind="stable")[:, :10], judged), 10).mean())
    return found


def needed(at: Float[np.ndarray, "q t"], share: float) -> float:
    """Candidates of each query until that share of what is looked for is found."""
    return float(np.sort(at, axis=None)[int(np.ceil(share * at.size)) - 1] + 1)


def orders(t: Tokens, of: Truth, seed: int, wanted: Sequence[str]) -> Iterator[tuple[str, Places]]:
    """The orders of a seed by name; those without anything drawn of the first one alone."""
    plain = of.places | {"pooled": order_of(-(t.pooled[0] @ t.pooled[1].T)), "MaxSim": order_of(-of.chamfer)}
    if t.judged is None or not seed:
        yield from ((name, p.astype(np.float64)) for name, p in plain.items() if not wanted or name in wanted)
    yield from ((name, places_of(t, fde, seed)) for name, fde in fdes().items() if not wanted or name in wanted)


def table(file: Path) -> str:
    """A line a proxy for each data, in hundredths but for the candidates; without what all find."""
    shown = ["best in 1", "best in 10", *(f"top 10 in {n}" for n in TEN), "candidates for 90 %", "ndcg@10", "ndcg@10 reranked"]
    with file.open(newline="") as stream:
        value = {(r["part"], r["system"], r["figure"]): float(r["mean"]) for r in csv.DictReader(stream)}
    lines: list[list[str]] = []
    for part in dict.fromkeys(p for p, _, _ in value):
        least = {f: min((v for (p, _, g), v in value.items() if (p, g) == (part, f)), default=1.0) for f in shown}
        own = [f for f in shown if least[f] < 0.95 or (f.startswith("candidates") and least[f] > 1)]
        lines += [[], [part, *own], ["---", *["---:"] * len(own)]]
        for system in dict.fromkeys(s for p, s, _ in value if p == part):
            cells = [(f, value[part, system, f]) for f in own]
            lines.append([system, *(f"{v:.0f}" if "candidates" in f else f"{100 * v:.1f}" for f, v in cells)])
    return "\n".join(f"| {' | '.join(line)} |" if line else "" for line in lines).strip()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", default="cranfield,topics")
    parser.add_argument("--proxies", default="", help="some of them, between semicolons")
    parser.add_argument("--documents", type=int, default=2000, help="of topics")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="the table --out, in Markdown")
    args = parser.parse_args(argv)
    if args.table:
        print(table(args.out))
        return
    refuse_trial(parser, args, "parts", "proxies", "documents")
    rows: list[Row] = []
    for part in args.parts.split(","):
        for seed in range(args.seeds):
            began = time.process_time()
            if part == "topics" or not seed:
                t = cranfield(args.data, args.cache) if part == "cranfield" else topics(seed, args.documents)
                of = truth(t)
            for name, places in orders(t, of, seed, args.proxies.split(";") if args.proxies else ()):
                found = figures(places, of, t.judged)
                rows += [(part, name, seed, figure, value) for figure, value in found.items()]
                save(rows, args.out, command_of("muvera", argv, "retrieval"))
                shown = "  ".join(f"{v:.3g}" for v in found.values())
                print(f"{part}  seed {seed}  {name:30} {shown}  {time.process_time() - began:.0f} s of CPU", flush=True)
                began = time.process_time()


if __name__ == "__main__":
    main()

"""What do a few bits a number keep of a sentence vector: of its neighbours, of a task, of queries of a newer version?

    python -m experiments.retrieval.bebr [--seeds 3] [--parts sts,docstrings,compatible]

sts: 15 457 sentences of STS-B as vectors of all-MiniLM-L6-v2, 9 000 to train on, 500 to ask with, the rest to search; the share of
the ten nearest by floats among the first 10 and 100 by codes. Binarisers learn from pairs of a sentence and one of its five nearest
(NCE of the paper), or to keep the similarities of a batch (matching); beside them signs of coordinates and of random projections,
and principal components in 4 bits.

docstrings: functions of Python's standard library, found by their docstrings among all of it; whole modules are held out. Here
pairs are real. At 512 bits; beside the floats as they are and the same head trained without signs.

compatible: codes of an old binariser (half of the sentences, 128 numbers) are searched by queries of a new one (all of them, 256
numbers), which was trained apart, or with the old codes as further keys.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from experiments.retrieval.lab import DATA, collection, overlap, planted, vectors
from experiments.text.lab import asked, compiled
from experiments.text.rows import Row, gather
from jaxemb.contrastive import InfoNCE, SimilarityMatching
from jaxemb.contrastive.base import ContrastiveLoss
from jaxemb.data.base import DataError
from jaxemb.evals.sts import COLUMNS, read_pairs
from jaxemb.index import BEBR, Exact, Scalar
from jaxemb.index.base import Index
from jaxemb.index.bebr import renewed, write_binariser
from jaxemb.layers.projector import Projector
from jaxemb.layers.recurrent_binary import RecurrentBinary
from jaxemb.objectives.base import tower
from jaxemb.objectives.binary import BinaryPairs
from jaxemb.objectives.pairs import POSITIVE
from jaxemb.ops.similarity import unit
from jaxemb.types import Batch

OUT = Path(__file__).parents[2] / "results" / "retrieval_bebr.csv"
PARTS = ("sts", "docstrings", "compatible")
TRAIN, ASKED, NEAREST = 9000, 500, 5
STEPS, BATCH, LR, HIDDEN = 300, 256, 1e-3, (512,)
LOSSES: dict[str, ContrastiveLoss] = {"NCE": InfoNCE(0.05, hardest=5), "matching": SimilarityMatching(0.05, 10.0)}
SHAPES = ((128, 0), (64, 1), (512, 0), (256, 1), (128, 3))
"""(numbers, rounds)."""

Rows = Float[np.ndarray, "n d"]
Draw = Callable[[np.random.Generator], Mapping[str, Any]]


class Scale(NamedTuple):
    """How much of it: the study, or a trial that costs seconds."""

    steps: int = STEPS
    batch: int = BATCH
    hidden: tuple[int, ...] = HIDDEN
    shapes: tuple[tuple[int, int], ...] = SHAPES
    trial: bool = False


TRIAL = Scale(3, 16, (8,), ((16, 1),), True)


class FloatPairs(BinaryPairs):
    """The same head without signs: what training of floats gives."""

    head: nn.Module = field(default_factory=lambda: Projector((*HIDDEN, 256), bias=True))

    def embed(self, batch: Batch, role: str = "query", train: bool = False) -> Float[Array, "b m"]:
        head: Any = self.head
        return head(unit(batch["vectors"]), train=train)

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b m"]:
        return unit(self.embed(tower(batch, POSITIVE)))


def train(objective: Any, draw: Draw, seed: int, steps: int) -> dict[str, Any]:
    """The variables after training on batches that are drawn."""
    begin, step = compiled(objective, LR, steps)
    rng = np.random.default_rng(seed)
    state = begin(draw(rng), seed)
    for _ in range(steps):
        state, _ = step(state, draw(rng))
    return {"params": state.params, **state.stats}


def index_of(variables: Mapping[str, Any], folder: Path, name: str) -> BEBR:
    """Of a trained binariser."""
    write_binariser(folder / name, variables)
    return BEBR(path=str(folder / name))


# ---- neighbours of sentences -----------------------------------------------------------------------------------------------------


class Sentences(NamedTuple):
    """Vectors of length 1, and what is near by floats."""

    train: Rows
    queries: Rows
    documents: Rows
    near: Int[np.ndarray, "n k"]
    """Of each training row its nearest others."""
    truth: Int[np.ndarray, "q k"]
    """The nearest ten documents."""


@functools.lru_cache
def every_sentence(trial: bool) -> Rows:
    """A vector a sentence of STS-B, each once."""
    if trial:
        return planted(300, 24, 1).documents
    files = [DATA / "sts" / "stsb_en" / f"{split}.csv" for split in ("train", "dev", "test")]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise DataError(f"there is no {missing[0]}: STS-B's files are wanted there")
    texts = {text: None for file in files for side in read_pairs(str(file), None, COLUMNS)[:2] for text in side}
    return vectors(list(texts))


@functools.lru_cache(1)
def sentences(seed: int, trial: bool) -> Sentences:
    """Parts that a seed draws."""
    x = every_sentence(trial)
    x = x[np.random.default_rng(seed).permutation(len(x))]
    n, q = (100, 20) if trial else (TRAIN, ASKED)
    train, queries, documents = x[:n], x[n : n + q], x[n + q :]
    ids = Exact().build(train).search(train, NEAREST + 1).ids
    near = np.array([row[row != i][:NEAREST] for i, row in enumerate(ids)])
    return Sentences(train, queries, documents, near, Exact().build(documents).search(queries, 10).ids)


def neighbours(x: Rows, near: Int[np.ndarray, "n k"], batch: int, old: Rows | None = None) -> Draw:
    """Batches of rows and one of the nearest of each; `old`: the codes of an older version of the latter."""

    def draw(rng: np.random.Generator) -> Mapping[str, Any]:
        a = rng.integers(len(x), size=batch)
        b = near[a, rng.integers(near.shape[1], size=batch)]
        ids = {"query_id": a.astype(np.int32), "positive_id": b.astype(np.int32)}
        more = {} if old is None else {"old": old[b]}
        return {"query": {"vectors": x[a]}, "positive": {"vectors": x[b], **more}, **ids}

    return draw


def found(index: Index, documents: Rows, queries: Rows, truth: Int[np.ndarray, "q k"]) -> dict[str, float]:
    """Of the ten nearest by floats the share among the first 10 and 100."""
    ids = index.build(documents).search(queries, 100).ids
    return {f"recall@{k}": overlap(ids[:, :k], truth) for k in (10, 100)}


def components(x: Rows, count: int) -> Rows:
    """(d, count): the directions of the largest variance."""
    return np.linalg.eigh(np.cov(x.T))[1][:, : -count - 1 : -1].astype(np.float32)


def simple(s: Sentences, how: str, width: int, seed: int) -> dict[str, float]:
    """Codes that nothing is trained for."""
    documents, queries, index = s.documents, s.queries, Scalar(bits=4)
    if how != "PCA":
        index = BEBR(rounds=1 if how == "coordinates, twice" else 0)
    if how in ("PCA", "projection"):
        random = np.random.default_rng(seed).normal(size=(s.train.shape[1], width)).astype(np.float32)
        turn = components(s.train, width) if how == "PCA" else random
        documents, queries = documents @ turn, queries @ turn
    return found(index, documents, queries, s.truth)


def sts(arm: Any, seed: int, scale: Scale, folder: Path) -> dict[str, float]:
    """Figures of (loss, numbers, rounds), or of (how, numbers)."""
    s = sentences(seed, scale.trial)
    if len(arm) == 2:
        return simple(s, arm[0], arm[1], seed)
    loss, width, rounds = arm
    objective = BinaryPairs(binariser=RecurrentBinary(width, rounds, scale.hidden), contrast=LOSSES[loss])
    variables = train(objective, neighbours(s.train, s.near, scale.batch), seed, scale.steps)
    return found(index_of(variables, folder, "sts"), s.documents, s.queries, s.truth)


def arms_of_sts(scale: Scale) -> dict[str, Any]:
    d = every_sentence(scale.trial).shape[1]
    widths = (16,) if scale.trial else (128, 512)
    return {
        **{f"{loss} m{m} u{u}, {m * (u + 1)} bits": (loss, m, u) for loss in LOSSES for m, u in scale.shapes},
        f"signs of coordinates, {d} bits": ("coordinates", d),
        f"signs of coordinates and what they leave, {2 * d} bits": ("coordinates, twice", d),
        **{f"signs of random projections, {n} bits": ("projection", n) for n in widths},
        **{f"principal components x 4 bits, {n} bits": ("PCA", n // 4) for n in widths},
    }


# ---- a task ----------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(1)
def functions(seed: int, trial: bool) -> tuple[Rows, Rows, Int[np.ndarray, " h"]]:
    """(docstrings, codes, the functions of modules that are held out, a fifth of them by their names and the seed)."""
    if trial:
        x = planted(120, 24, 120)
        return unit(x.documents + x.queries), x.documents, np.arange(seed % 5, 120, 5)
    s = collection("docstrings")
    assert s.judged is not None
    modules = [name.partition(":")[0] for name in s.judged.query_ids]
    return s.queries, s.documents, np.flatnonzero([zlib.crc32(f"{seed} {m}".encode()) % 5 == 0 for m in modules])


def docstrings(arm: Any, seed: int, scale: Scale, folder: Path) -> dict[str, float]:
    """How often the own code of a docstring is the first, and among the first ten, of all codes."""
    texts, codes, held = functions(seed, scale.trial)
    rest = np.setdiff1d(np.arange(len(codes)), held)
    kind, *shape = arm
    queries, documents, index = texts[held], codes, Exact()

    def draw(rng: np.random.Generator) -> Mapping[str, Any]:
        rows = rng.choice(rest, scale.batch, replace=False)
        return {"query": {"vectors": texts[rows]}, "positive": {"vectors": codes[rows]}}

    if kind == "trained":
        floats = FloatPairs(head=Projector((*scale.hidden, 256), bias=True), contrast=LOSSES["NCE"])
        held_variables = train(floats, draw, seed, scale.steps)
        queries, documents = (asked(floats, held_variables, {"vectors": x}, "encode") for x in (queries, documents))
    elif kind == "codes":
        objective = BinaryPairs(binariser=RecurrentBinary(shape[0], shape[1], scale.hidden), contrast=LOSSES["NCE"])
        index = index_of(train(objective, draw, seed, scale.steps), folder, "docstrings")
    elif kind == "PCA":
        turn = components(np.concatenate([texts[rest], codes[rest]]), shape[0])
        queries, documents, index = queries @ turn, documents @ turn, Scalar(bits=4)
    elif kind == "coordinates":
        index = BEBR(rounds=0)
    ids = index.build(documents).search(queries, 10).ids
    return {f"recall@{k}": float((ids[:, :k] == held[:, None]).any(1).mean()) for k in (1, 10)}


def arms_of_docstrings(scale: Scale) -> dict[str, Any]:
    d, shapes = every_sentence(scale.trial).shape[1], [(m, u) for m, u in scale.shapes if scale.trial or m * (u + 1) == 512]
    return {
        f"floats, {32 * d} bits": ("floats",),
        "floats, the same head trained, 8192 bits": ("trained",),
        **{f"NCE m{m} u{u}, {m * (u + 1)} bits": ("codes", m, u) for m, u in shapes},
        f"principal components x 4 bits, {16 if scale.trial else 512} bits": ("PCA", 4 if scale.trial else 128),
        f"signs of coordinates, {d} bits": ("coordinates",),
    }


# ---- a newer version -------------------------------------------------------------------------------------------------------------


@functools.lru_cache(1)
def old_version(seed: int, scale: Scale) -> tuple[BinaryPairs, dict[str, Any]]:
    """Trained on half of the rows; a row's neighbours are those of this half."""
    s = sentences(seed, scale.trial)
    half = s.train[: len(s.train) // 2]
    ids = Exact().build(half).search(half, NEAREST + 1).ids
    near = np.array([row[row != i][:NEAREST] for i, row in enumerate(ids)])
    objective = BinaryPairs(binariser=RecurrentBinary(16 if scale.trial else 128, 1, scale.hidden), contrast=LOSSES["NCE"])
    return objective, train(objective, neighbours(half, near, scale.batch), seed + 100, scale.steps)


def compatible(arm: str, seed: int, scale: Scale, folder: Path) -> dict[str, float]:
    """Recall of the ten nearest by floats, of queries of one version in the codes of another."""
    s, (old, old_variables) = sentences(seed, scale.trial), old_version(seed, scale)
    before = index_of(old_variables, folder, "old").build(s.documents)

    def recall(built: Any) -> float:
        return overlap(built.search(s.queries, 10).ids, s.truth)

    if arm == "old":
        return {"old queries, old codes": recall(before)}
    keys = asked(old, old_variables, {"vectors": s.train}, "encode") if arm == "compatible" else None
    objective = BinaryPairs(binariser=RecurrentBinary(24 if scale.trial else 256, 1, scale.hidden), contrast=LOSSES["NCE"])
    variables = train(objective, neighbours(s.train, s.near, scale.batch, keys), seed, scale.steps)
    after = index_of(variables, folder, "new")
    mixed = before.remove(np.arange(0, len(s.documents), 2))
    mixed = renewed(mixed, str(folder / "new")).add(
        s.documents[::2]
    )  # a half of new codes in an index of old ones, as they are cut
    ids = mixed.search(s.queries, 10).ids
    places = np.concatenate([np.arange(len(s.documents)), np.arange(0, len(s.documents), 2)])
    return {
        "new queries, old codes": recall(renewed(before, str(folder / "new"))),
        "new queries, half old and half new codes": overlap(places[ids], s.truth),
        "new queries, new codes": recall(after.build(s.documents)),
    }


ARMS_OF_COMPATIBLE = {"old version": "old", "new, trained apart": "apart", "new, compatible": "compatible"}
STUDIES: dict[str, Any] = {"sts": sts, "docstrings": docstrings, "compatible": compatible}


def main(argv: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them, between commas")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--trial", action="store_true", help="planted vectors, few of them and few steps: does it run?")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    if args.out == OUT and (args.trial or args.seeds < 3 or args.steps != STEPS or args.parts != ",".join(PARTS)):
        parser.error(f"this is another table than the published one, {OUT.name}; name its file, --out FILE.csv")
    if wrong := set(args.parts.split(",")) - set(PARTS):
        parser.error(f"--parts {min(wrong)}: valid: {', '.join(PARTS)}")
    scale = TRIAL if args.trial else Scale(args.steps)
    every = {"sts": arms_of_sts(scale), "docstrings": arms_of_docstrings(scale), "compatible": ARMS_OF_COMPATIBLE}
    arms = [(part, name, (part, arm)) for part in args.parts.split(",") for name, arm in every[part].items()]
    command = shlex.join(["python", "-m", "experiments.retrieval.bebr", *(sys.argv[1:] if argv is None else argv)])
    with tempfile.TemporaryDirectory() as folder:
        return gather(arms, args.seeds, lambda arm, seed: STUDIES[arm[0]](arm[1], seed, scale, Path(folder)), args.out, command)


if __name__ == "__main__":
    main()

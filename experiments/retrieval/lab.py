"""What the studies of search share: collections as vectors, and as a vector a token, by all-MiniLM-L6-v2; planted neighbours.

    cranfield      1 400 abstracts, 225 queries, judged by hand
    limit_small    46 persons and what they like, 1 000 queries with two answers each
    docstrings     4 600 functions of Python's standard library, each asked for by its docstring
    planted        vectors around centres, of any number; none is judged

Each is read by the encoder once, and kept in a folder (.cache/retrieval) under a hash of its texts: they are never out of date.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxemb.data.beir import Collection, read_beir
from jaxemb.data.docstrings import functions, standard_library
from jaxemb.evals.sts import COLUMNS, read_pairs
from jaxemb.metrics.ranking import ABSENT, UNJUDGED, Ranking, ndcg
from jaxemb.ops.maxsim import Matrices
from jaxemb.ops.similarity import unit

DATA = Path(__file__).parents[3] / "shared" / "data"
"""With retrieval/cranfield, retrieval/limit_small and sts/stsb_en, as `experiments/text/baseline.py` wants it."""
CACHE = Path(__file__).parents[2] / ".cache" / "retrieval"
JUDGED = ("cranfield", "limit_small", "docstrings")
TOKENS = 96
"""Tokens that are read of a text that has a vector a token."""


class Searched(NamedTuple):
    """What is searched, and for what."""

    name: str
    documents: Float[np.ndarray, "n d"]
    """Of length 1, as are queries."""
    queries: Float[np.ndarray, "q d"]
    judged: Collection | None
    """Texts and judgements; None where nobody judged."""


# ---- collections -----------------------------------------------------------------------------------------------------------------


@functools.lru_cache
def texts(name: str, data: Path = DATA) -> Collection:
    """A collection by its name."""
    if name != "docstrings":
        return read_beir(str(data / "retrieval" / name))
    found = functions([standard_library()], share=0.0).train
    ids = [f"{f.module}:{f.name}" for f in found]
    return Collection(ids, [f.code for f in found], ids, [f.text for f in found], {i: {i: 1} for i in ids}, 0)


def collection(name: str, data: Path = DATA, cache: Path = CACHE) -> Searched:
    """A vector a text, with the encoder as it is published (256 tokens)."""
    found = texts(name, data)
    return Searched(name, vectors(found.documents, cache), vectors(found.queries, cache), found)


def token_matrices(name: str, data: Path = DATA, cache: Path = CACHE, length: int = TOKENS) -> tuple[Matrices, Matrices]:
    """(queries, documents) as the states of the last layer, those of [CLS] and [SEP] too, as long as they come. Their mean, of
    length 1, is the vector of the same text cut at `length` tokens."""
    found = texts(name, data)
    return tokens(found.queries, cache, length), tokens(found.documents, cache, length)


def sts(data: Path = DATA, cache: Path = CACHE, split: str = "test") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of the first and the second sentences of STS-B's pairs, and their scores."""
    first, second, scores = read_pairs(str(data / "sts" / "stsb_en" / f"{split}.csv"), None, COLUMNS)
    return vectors(first, cache), vectors(second, cache), scores


def planted(rows: int, width: int = 384, queries: int = 1000, seed: int = 0, decay: float = 0.0) -> Searched:
    """Vectors of length 1 around a tenth as many centres as rows, with half the noise, and queries around the same. `decay`: the
    variance of direction i is i^-decay; 0: all directions alike, which nothing that drops directions can live with. MiniLM's
    vectors have about 1."""
    rng = np.random.default_rng(seed)
    scale = (np.arange(1, width + 1) ** (-decay / 2)).astype(np.float32)
    centres = rng.standard_normal((max(rows // 10, 1), width), np.float32)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32) if decay else None

    def around(n: int) -> Float[np.ndarray, "n d"]:
        x = (centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, width), np.float32)) * scale
        return unit(x if turn is None else x @ turn)

    return Searched(f"planted {rows}", around(rows), around(queries), None)


# ---- figures ---------------------------------------------------------------------------------------------------------------------


def ranked(ids: Int[np.ndarray, "q k"], c: Collection) -> Ranking:
    """The grades of the documents that were found, -1: none."""
    judged = np.full((len(ids), max(map(len, c.judgements.values()))), UNJUDGED)
    grades = np.full(ids.shape, ABSENT)
    for row, (query, found) in enumerate(zip(c.query_ids, ids, strict=True)):
        own = c.judgements[query]
        judged[row, : len(own)] = list(own.values())
        grades[row] = [own.get(c.document_ids[i], UNJUDGED) if i >= 0 else ABSENT for i in found]
    return Ranking(np.maximum(grades, np.where(grades == ABSENT, ABSENT, UNJUDGED)), np.maximum(judged, UNJUDGED))


def figures(ids: Int[np.ndarray, "q k"], truth: Int[np.ndarray, "q k"], s: Searched) -> dict[str, float]:
    """`recall@k`, the share of the k best of exact search that was found; and `ndcg@k` where there are judgements."""
    k = ids.shape[1]
    found = {f"recall@{k}": overlap(ids, truth)}
    return found if s.judged is None else found | {f"ndcg@{k}": float(ndcg(ranked(ids, s.judged), k).mean())}


def overlap(ids: Int[np.ndarray, "q k"], truth: Int[np.ndarray, "q t"]) -> float:
    """The share of `truth` that was found, the mean over queries."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(ids.tolist(), truth.tolist(), strict=True)]))


# ---- the encoder, once -----------------------------------------------------------------------------------------------------------


def vectors(given: Sequence[str], cache: Path = CACHE) -> Float[np.ndarray, "n d"]:
    """A vector of length 1 a text."""
    return kept(cache, "vectors", given, 256, lambda: {"x": encoder(256).encode(list(given), normalize_embeddings=True)})["x"]


def tokens(given: Sequence[str], cache: Path = CACHE, length: int = TOKENS) -> Matrices:
    """A vector a token of each text."""

    def make() -> dict[str, np.ndarray]:
        each = encoder(length).encode(list(given), output_value="token_embeddings")
        return {"x": np.concatenate(each), "count": np.array([len(x) for x in each])}

    found = kept(cache, "tokens", given, length, make)
    return Matrices(np.split(found["x"], np.cumsum(found["count"])[:-1]))


@functools.lru_cache
def encoder(length: int):
    """all-MiniLM-L6-v2, of texts cut at `length` tokens."""
    from experiments.text.docstrings import minilm
    from jaxemb.io.embedder import Embedder

    return Embedder.from_pretrained(minilm(), max_length=length)


def kept(
    cache: Path, what: str, given: Sequence[str], length: int, make: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Arrays that are made once for some texts."""
    digest = hashlib.blake2b("\x00".join([str(length), *given]).encode(), digest_size=10).hexdigest()
    file = cache / f"minilm-{what}-{digest}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}.npz")  # another study may be reading
        np.savez(temporary, allow_pickle=False, **make())
        temporary.replace(file)
    with np.load(file) as stored:
        return dict(stored)

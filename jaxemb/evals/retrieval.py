"""How well queries find the documents that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import Data
from jaxemb.data.beir import Collection, read_beir
from jaxemb.evals.base import Eval
from jaxemb.evals.texts import Model, all_scores, compared, embeddings, similarity_of, token_vectors
from jaxemb.metrics import ranking
from jaxemb.metrics.ranking import ABSENT, GAINS, UNJUDGED, Ranking
from jaxemb.ops.closeness import SIMILARITIES
from jaxemb.ops.maxsim import Matrices
from jaxemb.ops.topk import largest
from jaxemb.preprocess.bm25 import BM25
from jaxemb.types import Paper

BLOCK = 2**23
"""Scores that are in memory at a time."""
REFERENCES = ("bm25", "late_interaction")
TIES = "score descending, of equals the higher document id first (trec_eval)"

Scores = Callable[[slice, Int[np.ndarray, " n"]], Float[np.ndarray, "q n"]]
"""(some queries, documents by their places) -> an array of their scores, the caller's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval(Eval):
    """Exact search in a folder in BEIR's layout: `ndcg@k`, `map@k`, `recall@k`, `precision@k`, `mrr@k` as trec_eval has them.

    Every document is scored against every query that has a judgement; texts that are equal are encoded once and score the same.
    `split` says which judgements: qrels/test.tsv, dev.tsv or train.tsv. The mean is over the queries that are judged, also where
    none of their documents is relevant.

    `references` are ranked by the same judgements and ties, `bm25/ndcg@k` and so on: what an embedding is to be held beside.
    """

    paper: ClassVar[Paper | None] = Paper(
        "BEIR: a heterogeneous benchmark for information retrieval", 2021, "https://arxiv.org/abs/2104.08663"
    )

    path: str
    """The folder: corpus.jsonl, queries.jsonl, qrels/."""
    at: tuple[int, ...] = (10, 100)
    """Numbers of documents to look at."""
    gain: str = "linear"
    """Of a grade in nDCG: "linear" as in trec_eval, or "exponential", 2^grade - 1."""
    similarity: str | None = None
    """"cosine", "dot", "euclidean" or "manhattan"; None: the model's own, the cosine where it has none."""
    own_id: bool = True
    """Whether a query may find the document of its own id. Where queries are documents (Quora, ArguAna), set it to false."""
    query_prompt: str | None = None
    """Before each query; None: the model's own prompt for queries, "": none."""
    document_prompt: str | None = None
    references: tuple[str, ...] = ()
    """Figures beside the model's: "bm25", of the words; "late_interaction", MaxSim of the cosines of the model's tokens before it
    pools them, which tells what pooling loses. A model of late interaction is its own, and has no other."""
    bm25: BM25 = BM25()
    """How words are scored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, gain=GAINS, similarity=(None, *SIMILARITIES))
        if strange := [name for name in self.references if name not in REFERENCES]:
            raise ConfigError(f"Retrieval.references: {strange[0]!r} is none; valid: {', '.join(REFERENCES)}")
        if not self.at or min(self.at) < 1:
            raise ConfigError(f"Retrieval.at={self.at}: numbers of documents of at least 1")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        found = read_beir(self.path, self.split)
        documents = embeddings(model, data, found.documents, role="document", prompt=self.document_prompt)
        queries = embeddings(model, data, found.queries, role="query", prompt=self.query_prompt)
        how = {"k": max(self.at), "own_id": self.own_id}
        rankings = {"": ranked(found, queries, documents, similarity=similarity_of(model, self.similarity), **how)}
        if "bm25" in self.references:
            rankings["bm25/"] = ranked_by(found, _words(found, self.bm25), **how)
        if "late_interaction" in self.references and not isinstance(documents, Matrices):
            tokens = token_vectors(model, data, found.documents, role="document", prompt=self.document_prompt)
            asked = token_vectors(model, data, found.queries, role="query", prompt=self.query_prompt)
            rankings["late_interaction/"] = ranked(found, asked, tokens, similarity="cosine", **how)
        figures = {before + name: x for before, r in rankings.items() for name, x in self._figures(r).items()}
        counts = {"queries": len(queries), "unjudged_queries": found.unjudged, "documents": len(documents)}
        return figures | {name: float(n) for name, n in counts.items()}

    def _figures(self, r: Ranking) -> dict[str, float]:
        figures = {}
        for k in self.at:
            figures[f"ndcg@{k}"] = ranking.ndcg(r, k, gain=self.gain)
            figures[f"map@{k}"] = ranking.average_precision(r, k)
            figures[f"recall@{k}"] = ranking.recall(r, k)
            figures[f"precision@{k}"] = ranking.precision(r, k)
            figures[f"mrr@{k}"] = ranking.reciprocal_rank(r, k)
        return {name: float(x.mean()) for name, x in figures.items()}

    def conditions(self, model: Any = None) -> dict[str, Any]:
        similarity = similarity_of(model, self.similarity)
        return {"similarity": similarity, "ties": TIES, "search": "exact, every document, float32"}


def ranked(
    c: Collection,
    queries: Float[np.ndarray, "q d"] | Matrices,
    documents: Float[np.ndarray, "n d"] | Matrices,
    k: int,
    own_id: bool = True,
    similarity: str = "dot",
) -> Ranking:
    """The grades of the k nearest documents of each query, by a `similarity` of their vectors, or MaxSim of their matrices."""
    if similarity == "cosine":
        queries, documents, similarity = compared(queries, "cosine"), compared(documents, "cosine"), "dot"
    # Texts that are equal have one vector, so that their scores are equal to the last bit.
    first = {text: i for i, text in reversed([*enumerate(c.documents)])}
    used, place = np.unique([first[text] for text in c.documents], return_inverse=True)
    vectors, place = documents[used], place.reshape(-1)
    return ranked_by(c, lambda some, columns: all_scores(queries[some], vectors, similarity)[:, place[columns]], k, own_id)


def ranked_by(c: Collection, scores: Scores, k: int, own_id: bool = True) -> Ranking:
    """The grades of the k documents of each query with the highest scores, of equal ones the higher id first. Unless `own_id` a
    query does not find the document of its own id."""
    k, down = min(k, len(c.documents)), np.argsort(np.asarray(c.document_ids), kind="stable")[::-1]
    ids = [c.document_ids[i] for i in down]
    column = {name: i for i, name in enumerate(ids)}
    same = np.array([-1 if own_id else column.get(name, -1) for name in c.query_ids])
    most = max(map(len, c.judgements.values()))
    grades, judged = np.full((len(c.queries), k), ABSENT), np.full((len(c.queries), most), UNJUDGED)
    for row, columns in enumerate(_highest(scores, down, same, k)):
        mine = c.judgements[c.query_ids[row]]
        grades[row, : len(columns)] = [mine.get(ids[i], UNJUDGED) for i in columns]
        judged[row, : len(mine)] = list(mine.values())
    return Ranking(np.maximum(grades, np.where(grades == ABSENT, ABSENT, UNJUDGED)), np.maximum(judged, UNJUDGED))


def _highest(scores: Scores, down: Int[np.ndarray, " n"], same: Int[np.ndarray, " q"], k: int) -> Iterator[Int[np.ndarray, " _"]]:
    """The columns, documents in the order `down`, of each query's k highest scores, best first, the first where they are equal. A
    query does not find the column `same`."""
    size = max(BLOCK // len(down), 1)
    for start in range(0, len(same), size):
        hidden = same[start : start + size]
        found = scores(slice(start, start + size), down)
        found[np.flatnonzero(hidden >= 0), hidden[hidden >= 0]] = -np.inf
        for columns, own in zip(largest(found, k), hidden, strict=True):
            yield columns[columns != own] if own >= 0 else columns


def _words(c: Collection, bm25: BM25) -> Scores:
    score = bm25.over(c.documents)
    return lambda some, columns: score(c.queries[some])[:, columns].astype(np.float32)

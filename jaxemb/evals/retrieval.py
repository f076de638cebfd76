"""How well queries find the documents that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import Data
from jaxemb.data.beir import Collection, read_beir
from jaxemb.evals.base import Eval
from jaxemb.evals.texts import Model, all_scores, compared, embeddings, similarity_of
from jaxemb.metrics import ranking
from jaxemb.metrics.ranking import ABSENT, GAINS, UNJUDGED, Ranking
from jaxemb.ops.closeness import SIMILARITIES
from jaxemb.ops.maxsim import Matrices
from jaxemb.ops.topk import largest
from jaxemb.types import Paper

BLOCK = 2**23
"""Scores that are in memory at a time."""
TIES = "score descending, of equals the higher document id first (trec_eval)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retrieval(Eval):
    """Exact search in a folder in BEIR's layout: `ndcg@k`, `map@k`, `recall@k`, `precision@k`, `mrr@k` as trec_eval has them.

    Every document is scored against every query that has a judgement; texts that are equal are encoded once and score the same.
    `split` says which judgements: qrels/test.tsv, dev.tsv or train.tsv. The mean is over the queries that are judged, also where
    none of their documents is relevant.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, gain=GAINS, similarity=(None, *SIMILARITIES))
        if not self.at or min(self.at) < 1:
            raise ConfigError(f"Retrieval.at={self.at}: numbers of documents of at least 1")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        found = read_beir(self.path, self.split)
        documents = embeddings(model, data, found.documents, role="document", prompt=self.document_prompt)
        queries = embeddings(model, data, found.queries, role="query", prompt=self.query_prompt)
        r = ranked(found, queries, documents, max(self.at), self.own_id, similarity_of(model, self.similarity))
        figures = {}
        for k in self.at:
            figures[f"ndcg@{k}"] = ranking.ndcg(r, k, gain=self.gain)
            figures[f"map@{k}"] = ranking.average_precision(r, k)
            figures[f"recall@{k}"] = ranking.recall(r, k)
            figures[f"precision@{k}"] = ranking.precision(r, k)
            figures[f"mrr@{k}"] = ranking.reciprocal_rank(r, k)
        counts = {"queries": len(queries), "unjudged_queries": found.unjudged, "documents": len(documents)}
        return {name: float(x.mean()) for name, x in figures.items()} | {name: float(n) for name, n in counts.items()}

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
    k, down = min(k, len(documents)), np.argsort(np.asarray(c.document_ids), kind="stable")[::-1]
    ids = [c.document_ids[i] for i in down]
    column = {name: i for i, name in enumerate(ids)}
    same = np.array([-1 if own_id else column.get(name, -1) for name in c.query_ids])
    most = max(map(len, c.judgements.values()))
    grades, judged = np.full((len(queries), k), ABSENT), np.full((len(queries), most), UNJUDGED)
    first = {text: i for i, text in reversed([*enumerate(c.documents)])}
    copies = np.array([first[c.documents[i]] for i in down])
    for row, columns in enumerate(nearest(queries, documents, copies, same, k, similarity)):
        mine = c.judgements[c.query_ids[row]]
        grades[row, : len(columns)] = [mine.get(ids[i], UNJUDGED) for i in columns]
        judged[row, : len(mine)] = list(mine.values())
    return Ranking(np.maximum(grades, np.where(grades == ABSENT, ABSENT, UNJUDGED)), np.maximum(judged, UNJUDGED))


def nearest(
    queries: Float[np.ndarray, "q d"] | Matrices,
    documents: Float[np.ndarray, "m d"] | Matrices,
    copies: Int[np.ndarray, " n"],
    same: Int[np.ndarray, " q"],
    k: int,
    similarity: str = "dot",
) -> Iterator[Int[np.ndarray, " _"]]:
    """The columns of each query's k best documents, best first, in blocks of queries. A column is the vector `documents[copies]`;
    the first comes first where scores are equal, which those of one vector are to the last bit. A query does not find the column
    `same`."""
    used, place = np.unique(copies, return_inverse=True)
    vectors, place = documents[used], place.reshape(-1)
    size = max(BLOCK // len(copies), 1)
    for start in range(0, len(queries), size):
        scores = all_scores(queries[start : start + size], vectors, similarity)[:, place]
        hidden = same[start : start + size]
        scores[np.flatnonzero(hidden >= 0), hidden[hidden >= 0]] = -np.inf
        for columns, own in zip(largest(scores, k), hidden, strict=True):
            yield columns[columns != own] if own >= 0 else columns

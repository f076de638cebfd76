"""How well the pairs that training has not seen are told from others: of the experiment's own file, with no other data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxemb.config import ConfigError, choices
from jaxemb.data.base import Data, DataError
from jaxemb.data.beir import Collection
from jaxemb.data.pair_records import Pair
from jaxemb.data.text_pairs import TextPairs
from jaxemb.evals.base import Eval
from jaxemb.evals.retrieval import TIES, ranked
from jaxemb.evals.sts import known
from jaxemb.evals.texts import Model, embeddings, pairwise, similarity_of
from jaxemb.metrics import ranking
from jaxemb.metrics.correlation import pearson, spearman
from jaxemb.ops.closeness import SIMILARITIES


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutPairs(Eval):
    """Exact search of each query of a split of `TextPairs` among all positives and hard negatives of that split: `mrr@k`, `ndcg@k`,
    `recall@k`; of scored pairs the correlation of score and similarity, `spearman` and `pearson`.

    All positives of equal queries are relevant, equal texts are one document, and of labelled texts all others of the label are
    relevant. The fewer documents there are, the easier it is: figures are compared on the same file alone.
    """

    at: tuple[int, ...] = (10,)
    """Numbers of documents to look at."""
    similarity: str | None = None
    """"cosine", "dot", "euclidean" or "manhattan"; None: the model's own, the cosine where it has none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, similarity=(None, *SIMILARITIES))
        if not self.at or min(self.at) < 1:
            raise ConfigError(f"HeldOutPairs.at={self.at}: numbers of documents of at least 1")

    def run(self, model: Model, data: Data | None, *, seed: int = 0) -> dict[str, float]:
        if not isinstance(data, TextPairs):
            raise ConfigError(f"HeldOutPairs measures the pairs of TextPairs, not {type(data).__name__}; Retrieval reads a folder")
        pairs, similarity = data.pairs(self.split), similarity_of(model, self.similarity)
        scored = [p for p in pairs if data.scores is not None and not np.isnan(p.score)]
        figures = self._correlation(model, data, scored, similarity) if scored else {}
        rest = [p for p in pairs if data.scores is None or np.isnan(p.score)]
        return figures | (self._found(model, data, rest, similarity) if rest else {})

    def _found(self, model: Model, data: Data, pairs: Sequence[Pair], similarity: str) -> dict[str, float]:
        c = collection(pairs)
        documents = embeddings(model, data, c.documents, role="document")
        queries = embeddings(model, data, c.queries, role="query")
        r = ranked(c, queries, documents, max(self.at), own_id=False, similarity=similarity)
        figures = {}
        for k in self.at:
            figures[f"mrr@{k}"] = ranking.reciprocal_rank(r, k)
            figures[f"ndcg@{k}"] = ranking.ndcg(r, k)
            figures[f"recall@{k}"] = ranking.recall(r, k)
        counts = {"queries": float(len(c.queries)), "documents": float(len(c.documents))}
        return {name: float(x.mean()) for name, x in figures.items()} | counts

    def _correlation(self, model: Model, data: Data, pairs: Sequence[Pair], similarity: str) -> dict[str, float]:
        queries = embeddings(model, data, [p.query for p in pairs], role="query")
        documents = embeddings(model, data, [p.positive or p.query for p in pairs], role="document")
        found, gold = pairwise(queries, documents, similarity), np.array([p.score for p in pairs])
        return {"spearman": known(spearman(gold, found)), "pearson": known(pearson(gold, found)), "pairs": float(len(pairs))}

    def conditions(self, model: Any = None) -> dict[str, Any]:
        return {"similarity": similarity_of(model, self.similarity), "ties": TIES, "among": f"the documents of {self.split!r}"}


def collection(pairs: Sequence[Pair]) -> Collection:
    """The pairs as who belongs to whom. A text without a positive is a document too, which does not find itself."""
    documents: dict[str, str] = {}
    members: dict[str, dict[str, int]] = {}
    judged: dict[str, dict[str, int]] = {}

    def number(text: str) -> str:
        return documents.setdefault(text, f"{len(documents):09d}")

    for p in pairs:
        if p.positive is None:
            members.setdefault(p.label, {})[number(p.query)] = 1
        else:
            judged.setdefault(p.query, {})[number(p.positive)] = 1
        for negative in p.negatives:
            number(negative)
    alone = {p.query: p.label for p in pairs if p.positive is None}
    for query, label in alone.items():
        others = {name: 1 for name in members[label] if name != documents[query]}
        judged[query] = judged.get(query, {}) | others
    judged = {query: own for query, own in judged.items() if own}
    if not judged:
        raise DataError(f"{pairs[0].where}: in its split no text has another one of its label; set data.test_share higher")
    ids = {query: documents[query] if query in alone else f"q{i}" for i, query in enumerate(judged)}
    judgements = {ids[query]: own for query, own in judged.items()}
    lacking = len({p.query for p in pairs}) - len(judged)
    return Collection([*documents.values()], [*documents], [*ids.values()], [*ids], judgements, lacking)

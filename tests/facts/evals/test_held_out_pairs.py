"""Held-out pairs: every other text of the split is a candidate, and what belongs together is what the file says."""

import json

import numpy as np
import pytest
from fakes import Words

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.text import Text
from jaxemb.data.text_pairs import TextPairs
from jaxemb.evals.held_out_pairs import HeldOutPairs


@pytest.fixture
def run(tmp_path):
    """Figures of the rows of a test file, with words as a model."""

    def run(rows, fields=None, **own):
        (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
        data = TextPairs("unread.jsonl", test_path=str(tmp_path / "test.jsonl"), length=16, **(fields or {}))
        return HeldOutPairs(**own).run(Words(), data)

    return run


def test_candidates_are_all_documents_of_the_split_and_equal_queries_share_their_positives(run):
    rows = [
        {"query": "wing", "positive": "wing tip"},
        {"query": "wing", "positive": "feather"},  # far from its query: found after the others
        {"query": "cell", "positive": "cell wall"},
        {"query": "stone", "positive": "moon", "negatives": ["stone wall"]},
    ]
    got = run(rows, at=(1,))
    assert (got["queries"], got["documents"]) == (3, 4)  # the hard negative is not read
    assert got["recall@1"] == pytest.approx((0.5 + 1 + found(["wing tip", "feather", "cell wall", "moon"], "stone", "moon")) / 3)
    with_negatives = run(rows, {"negatives": 1}, at=(1, 10))
    assert with_negatives["documents"] == 5 and with_negatives["recall@10"] == 1
    assert with_negatives["mrr@1"] == pytest.approx(2 / 3) and with_negatives["ndcg@1"] == pytest.approx(2 / 3)


def found(documents, query, wanted):
    z = {t: sum(Words().word(w) for w in t.split()) for t in [*documents, query]}
    cosine = {d: z[query] @ z[d] / np.linalg.norm(z[d]) for d in documents}
    return float(max(cosine, key=cosine.get) == wanted)


def test_a_labelled_text_finds_the_others_of_its_label_and_not_itself(run):
    rows = [{"text": t, "label": t.split()[0]} for t in ("wing a", "wing b", "cell c", "cell d", "moon e")]
    got = run(rows, {"labelled": True}, at=(1,))
    assert (got["mrr@1"], got["recall@1"], got["queries"], got["documents"]) == (1.0, 1.0, 4, 5)
    with pytest.raises(DataError, match="no text has another one of its label"):
        run(rows[::2], {"labelled": True})


def test_scored_pairs_are_correlated(run):
    rows = [{"query": "wing cell", "positive": p, "score": s} for p, s in (("wing cell", 5), ("wing", 3), ("stone", 0))]
    got = run(rows, {"scores": (0, 5)})
    assert got["spearman"] == pytest.approx(1) and got["pairs"] == 3 and got["pearson"] < 1


def test_other_data_are_refused():
    with pytest.raises(ConfigError, match="measures the pairs of TextPairs, not Text"):
        HeldOutPairs().run(Words(), Text(length=16))
    with pytest.raises(ConfigError, match=r"HeldOutPairs.at=\(\)"):
        HeldOutPairs(at=())

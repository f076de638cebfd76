"""What the studies of search share."""

import numpy as np
import pytest

from experiments.retrieval import lab
from jaxemb.data.beir import Collection
from jaxemb.evals.retrieval import ranked
from jaxemb.index import Exact
from jaxemb.metrics.ranking import ndcg


@pytest.fixture
def judged():
    """Six documents and three queries, of which the second has three relevant documents of several grades."""
    judgements = {"p": {"a": 1}, "q": {"a": 2, "c": 1, "f": 3, "b": -1}, "r": {"e": 0}}
    c = Collection(list("abcdef"), [f"text {x}" for x in "abcdef"], list("pqr"), list("pqr"), judgements, 0)
    r = np.random.default_rng(0)
    x, q = (r.normal(size=(n, 5)).astype(np.float32) for n in (6, 3))
    return lab.Searched("own", *(z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, q)), c)


def test_figures_are_those_of_the_evaluation(judged):
    ids = Exact().build(judged.documents).search(judged.queries, 2).ids
    found = lab.figures(ids, ids, judged)
    want = ndcg(ranked(judged.judged, judged.queries, judged.documents, 2), 2).mean()
    assert found == {"recall@2": 1, "ndcg@2": pytest.approx(want)} and 0 < want < 1


def test_recall_is_of_the_exact_list_and_nothing_found_is_no_document(judged):
    truth = np.array([[0, 1], [2, 3], [4, 5]])
    found = lab.figures(np.array([[1, 0], [2, -1], [-1, -1]]), truth, judged)
    assert found["recall@2"] == 0.5 and 0 < found["ndcg@2"] < 1
    assert lab.figures(truth, truth, judged._replace(judged=None)) == {"recall@2": 1}


def test_planted_neighbours_are_near_and_directions_decay_as_said():
    s = lab.planted(300, 16, 20, seed=1)
    assert s.documents.shape == (300, 16) and s.queries.shape == (20, 16) and s.judged is None
    best = np.sort(s.queries @ s.documents.T, axis=1)
    assert best[:, -1].mean() > 0.8 > 0.6 > abs(best.mean())
    flat, steep = (np.linalg.eigvalsh(np.cov(lab.planted(2000, 16, 1, decay=decay).documents.T))[::-1] for decay in (0.0, 2.0))
    assert flat[0] / flat[9] < 2 < 30 < steep[0] / steep[9]


def test_arrays_are_made_once_for_the_same_texts(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"x": np.arange(3.0)}

    for given, length in ((["a", "b"], 4), (["a", "b"], 4), (["a", "b"], 5), (["a", "c"], 4)):
        assert lab.kept(tmp_path, "vectors", given, length, make)["x"].tolist() == [0, 1, 2]
    assert len(calls) == 3 == len(list(tmp_path.iterdir()))


def test_docstrings_find_their_own_code(monkeypatch, tmp_path):
    code = "    {f}{f}{f} = [x, x + 1, x + 2, x + 3]\n    return {f}{f} * x + {f} * (x - 1)\n"
    sources = ('def {f}(x):\n    """What {f} gives, in a few words."""\n' + code).format
    (tmp_path / "m.py").write_text("\n".join(sources(f=f) for f in "ghk"))
    monkeypatch.setattr(lab, "standard_library", lambda: str(tmp_path))
    c = lab.texts.__wrapped__("docstrings")
    assert c.document_ids == c.query_ids == ["m.py:g", "m.py:h", "m.py:k"]
    assert c.judgements["m.py:h"] == {"m.py:h": 1} and "What h gives" not in c.documents[1] and "hh * x" in c.documents[1]

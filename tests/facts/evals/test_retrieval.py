"""Retrieval by words that are known: who is found, in which order, and what counts."""

import numpy as np
import pytest
from fakes import Angles, Fake, Tokens, Words, write_collection

from jaxemb.config import ConfigError
from jaxemb.data.text import Text
from jaxemb.evals import retrieval
from jaxemb.evals.retrieval import Retrieval
from jaxemb.evals.texts import embed as vectors
from jaxemb.types import Features

DATA = Text(length=16)
DOCUMENTS = {"d1": "wing wing", "d2": "cell", "d3": "wing cell", "d4": "stone", "d5": ""}
QUERIES = {"q1": "wing", "q2": "stone", "q3": "moon"}


@pytest.fixture
def path(tmp_path):
    return write_collection(tmp_path, DOCUMENTS, QUERIES, "q1\td1\t1\nq1\td3\t2\nq2\td2\t1\nq2\td4\t0\n")


def test_what_is_found_is_what_shares_words(path):
    model = Words()
    got = Retrieval(path=path, at=(2,)).run(model, DATA)
    best, found = 2 + 1 / np.log2(3), 1 + 2 / np.log2(3)  # q1: d1 and then d3, the better one; q2: d4, and d2 not among the first 2
    assert got["ndcg@2"] == pytest.approx(found / best / 2) and got["mrr@2"] == 0.5 and got["recall@2"] == 0.5
    assert got["map@2"] == 0.5 and got["precision@2"] == 0.5
    assert (got["queries"], got["unjudged_queries"], got["documents"]) == (2, 1, 5)
    assert [(role, prompt) for role, prompt, _ in model.asked] == [("document", None), ("query", None)]


def test_prompts_are_those_of_the_fields(path):
    model = Words()
    Retrieval(path=path, query_prompt="find: ", document_prompt="").run(model, DATA)
    assert [(role, prompt) for role, prompt, _ in model.asked] == [("document", ""), ("query", "find: ")]


def test_equal_documents_score_the_same_and_the_higher_id_comes_first(tmp_path):
    copies = {name: "wing of stone" for name in ("b", "a", "é", "c")} | {f"{i}": f"other {i}" for i in range(40)}
    judged = "".join(f"q\t{name}\t{grade}\n" for name, grade in (("é", 0), ("c", 0), ("b", 1), ("a", 0)))
    model = Words(width=96)
    got = Retrieval(path=write_collection(tmp_path, copies, {"q": "wing stone"}, judged), at=(4,)).run(model, DATA)
    assert got["mrr@4"] == pytest.approx(1 / 3) and model.asked[0][2] == 41  # encoded once


def test_the_document_of_the_own_id_may_be_hidden(tmp_path):
    """It takes no place of the k best: where it is the nearest, the next k are all looked at."""
    documents = {"1": "wing", "2": "wing cell", "3": "wing cell cell"}
    path = write_collection(tmp_path, documents, {"1": "wing"}, "1\t2\t1\n1\t3\t1\n")
    got = {own: Retrieval(path=path, at=(1, 2), own_id=own).run(Words(), DATA) for own in (True, False)}
    assert [got[own]["mrr@2"] for own in (True, False)] == [0.5, 1.0]
    assert [got[False][f"recall@{k}"] for k in (1, 2)] == [0.5, 1.0] and got[False]["precision@2"] == 1


def test_blocks_of_queries_change_nothing(path, monkeypatch):
    whole = Retrieval(path=path).run(Words(), DATA)
    monkeypatch.setattr(retrieval, "BLOCK", 1)
    assert Retrieval(path=path).run(Words(), DATA) == whole


def test_the_length_of_a_vector_counts_for_products_alone(tmp_path):
    path = write_collection(tmp_path, {"1": "wing", "2": "wing wing wing cell"}, {"q": "wing"}, "q\t1\t1\n")
    assert Retrieval(path=path, at=(1,)).run(Words(), DATA)["mrr@1"] == 1
    assert Retrieval(path=path, at=(1,), similarity="dot").run(Words(), DATA)["mrr@1"] == 0


def test_a_model_is_measured_with_its_own_similarity(tmp_path):
    """From (1, 0): the nearest by angle, by product, by distance and by steps along the axes are four documents."""
    documents = {"cosine": "0 0.1", "dot": "60 40", "euclidean": "9.46 1.217", "manhattan": "1 0.65"}
    path = write_collection(tmp_path, documents, {"q": "0 1"}, "")
    for name in ("cosine", "dot", "euclidean", "manhattan"):
        (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{name}\t1\n")
        model = Angles(similarity_fn_name=name)
        own, asked = Retrieval(path=path, at=(1,)), Retrieval(path=path, at=(1,), similarity=name)
        assert own.run(model, DATA)["mrr@1"] == asked.run(Angles(), DATA)["mrr@1"] == 1, name
        assert own.conditions(model)["similarity"] == name == asked.conditions()["similarity"]
    assert own.conditions()["similarity"] == "cosine" and asked.conditions(Angles(similarity_fn_name="dot"))["similarity"] == name


def test_a_model_of_rows_gets_those_of_the_preprocessing_in_order(path):
    """Bytes: the longest documents come first, and what comes back is in the order of the texts."""
    seen = []

    def embed(arrays):
        seen.append(arrays["tokens"].shape)
        return np.stack([np.bincount(row[mask], minlength=256) for row, mask in zip(arrays["tokens"], arrays["mask"])]) + 1e-3

    got = Retrieval(path=path, at=(1,), document_prompt=" ").run(Fake(embed), Text(length=16))
    assert got["mrr@1"] == 0.5 and seen == [(5, 16), (2, 16)]
    texts = ["a", "aaaa", "aa", "aaaa", "aaa"]
    assert vectors(Fake(embed), Text(length=16), texts)[:, ord("a")].round().tolist() == [1, 4, 2, 4, 3]
    assert seen[-1] == (4, 16)  # one of them twice


def test_references_are_ranked_beside_the_model(tmp_path):
    """Two documents that BM25 cannot tell apart: the higher id is first, as where two cosines are equal."""
    documents = {"a": "wing stone stone", "b": "wing cell cell", "c": "moon", "d": "stone"}
    path = write_collection(tmp_path, documents, {"q": "wing"}, "q\ta\t1\n")
    own = Retrieval(path=path, at=(1, 2)).run(Words(), DATA)
    got = Retrieval(path=path, at=(1, 2), references=("bm25", "late_interaction")).run(Words(), DATA)
    assert {name: got[name] for name in own} == own and len(got) == 3 * len(own) - 2 * 3
    assert got["bm25/mrr@1"] == 0 and got["bm25/mrr@2"] == 0.5
    assert got["late_interaction/mrr@2"] == 0.5  # wing is in both
    hidden = write_collection(tmp_path, documents, {"b": "wing"}, "b\ta\t1\n")
    got = Retrieval(path=hidden, at=(1,), own_id=False, references=("bm25", "late_interaction")).run(Words(), DATA)
    assert got["bm25/mrr@1"] == got["late_interaction/mrr@1"] == 1
    one = Retrieval(path=path, at=(1,), references=("late_interaction",))
    assert "late_interaction/mrr@1" not in one.run(Tokens(), DATA)


def test_late_interaction_of_a_model_of_rows_leaves_padding_out(path):
    def features(arrays):
        tokens = np.eye(256, dtype=np.float32)[arrays["tokens"]]
        return Features(tokens + np.where(arrays["mask"], 0, 9)[..., None], arrays["mask"])

    model = Fake(lambda a: np.ones((len(a["tokens"]), 3)), features=features)
    got = Retrieval(path=path, at=(1,), references=("late_interaction",)).run(model, Text(length=16))
    assert got["mrr@1"] == 0 and got["late_interaction/mrr@1"] == 0.5  # q1 finds d3, wing cell, for w i n g


def test_what_is_refused(path):
    with pytest.raises(ConfigError, match="Retrieval.references: 'tfidf' is none; valid: bm25, late_interaction"):
        Retrieval(path=path, references=("tfidf",))
    with pytest.raises(ConfigError, match="Fake has no 'features'"):
        Retrieval(path=path, references=("late_interaction",)).run(Fake(lambda a: np.ones((len(a["tokens"]), 3))), DATA)
    with pytest.raises(ConfigError, match="Retrieval.at=.*: numbers of documents of at least 1"):
        Retrieval(path=path, at=())
    with pytest.raises(ConfigError, match="similarity='cosinus'"):
        Retrieval(path=path, similarity="cosinus")
    with pytest.raises(ConfigError, match="compared by a vector or a matrix; the model gives arrays of shape"):
        Retrieval(path=path).run(Fake(lambda a: np.ones((len(a["tokens"]), 3, 2, 1))), DATA)
    with pytest.raises(ConfigError, match="embeddings are not finite"):
        Retrieval(path=path).run(Fake(lambda a: np.full((len(a["tokens"]), 3), np.nan)), DATA)


def test_the_tie_rule_is_written_down(path):
    assert "trec_eval" in Retrieval(path=path).conditions()["ties"]

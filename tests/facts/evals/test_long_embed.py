"""The searches in long texts, by words that are known."""

import json

import numpy as np
import pytest
from fakes import Words

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.long_embed import TASKS, read_long_embed
from jaxemb.evals.long_embed import Haystack, LongEmbed


def write(folder, task, documents, queries, qrels):
    """Each a list of rows, in the layout of the hub."""
    (folder / task).mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", documents), ("queries", queries), ("qrels", qrels)):
        (folder / task / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def real(folder, task):
    documents = [{"doc_id": "d1", "text": "wing"}, {"doc_id": "d2", "text": "cell"}]
    queries = [{"qid": "q1", "text": "cell"}, {"qid": "q2", "text": "wing"}, {"qid": "q3", "text": "nobody"}]
    return write(folder, task, documents, queries, [{"qid": "q1", "doc_id": "d2"}, {"qid": "q2", "doc_id": "d2"}])


def synthetic(folder, task):
    """Of 256 tokens one query in two is right, of 512 the one; ids are used again."""
    documents = [{"doc_id": f"d{i}", "text": w, "context_length": n} for n in (256, 512) for i, w in enumerate(("wing", "cell"))]
    queries = [{"qid": f"q{i}", "text": "wing", "context_length": n} for n, count in ((256, 2), (512, 1)) for i in range(count)]
    qrels = [{"qid": f"q{i}", "doc_id": f"d{i}", "context_length": n} for n, i in ((256, 0), (256, 1), (512, 0))]
    return write(folder, task, documents, queries, qrels)


def test_a_real_task_is_one_search(tmp_path):
    found = read_long_embed(real(tmp_path, "qmsum"), "qmsum")
    assert [*found] == [None] and found[None].query_ids == ["q1", "q2"] and found[None].unjudged == 1
    got = LongEmbed(path=str(tmp_path), tasks=("qmsum",)).run(Words(), None)
    assert got == {"qmsum": pytest.approx((1 + 1 / 1.584962500721156) / 2)}  # the second query finds its document at rank 2


def test_each_length_is_a_search_of_its_own(tmp_path):
    path = synthetic(tmp_path, "passkey")
    assert {n: len(c.documents) for n, c in read_long_embed(path, "passkey").items()} == {256: 2, 512: 2}
    got = LongEmbed(path=path, tasks=("passkey",)).run(Words(), None)
    assert got == {"passkey@256": 0.5, "passkey@512": 1.0, "passkey": 0.75}


def test_the_average_is_over_the_six_tasks(tmp_path):
    for task in TASKS:
        (synthetic if task in ("passkey", "needle") else real)(tmp_path, task)
    got = LongEmbed(path=str(tmp_path)).run(Words(), None)
    assert got["average"] == pytest.approx((2 * 0.75 + 4 * got["qmsum"]) / 6)


def test_hidden_facts_are_found_by_their_words(tmp_path):
    """A bag of words finds the person, however long the text, until the noise of other words drowns it."""
    essays = tmp_path / "essays.txt"
    essays.write_text("Some sentence. Another one is here.")
    got = Haystack(lengths=(64, 128), queries=4, documents=8, essays=str(essays)).run(Words(512), None)
    assert set(got) == {"passkey@64", "passkey@128", "passkey", "needle@64", "needle@128", "needle"}
    assert got["passkey@64"] == 1.0 and got["passkey"] == (got["passkey@64"] + got["passkey@128"]) / 2
    assert Haystack(lengths=(64,), queries=4, documents=8).run(Words(512), None, seed=1)["needle@64"] >= 0.75


class Loud(Words):
    """The first of the documents has a long vector: by product it is the nearest."""

    def encode_texts(self, texts, *, role, prompt):
        z = super().encode_texts(texts, role=role, prompt=prompt)
        return z * np.where(np.arange(len(z)) == (0 if role == "document" else -1), 100, 1)[:, None].astype(np.float32)


def test_a_model_is_measured_with_its_own_similarity(tmp_path):
    model, hay = Loud(512), Haystack(lengths=(64,), queries=4, documents=8)
    task = LongEmbed(path=real(tmp_path, "qmsum"), tasks=("qmsum",))
    cosine = task.run(Words(), None), hay.run(model, None)["passkey"]
    assert task.run(model, None) == cosine[0] and hay.conditions(model) == {"similarity": "cosine"}
    model.similarity_fn_name = "dot"
    assert task.conditions(model)["similarity"] == hay.conditions(model)["similarity"] == "dot"
    assert hay.run(model, None)["passkey"] < cosine[1] == 1
    documents = [{"doc_id": "d1", "text": "cell moon moon moon"}, {"doc_id": "d2", "text": "cell"}]
    write(tmp_path, "qmsum", documents, [{"qid": "q", "text": "cell"}], [{"qid": "q", "doc_id": "d2"}])
    assert task.run(Words(), None)["qmsum"] == 1 and task.run(model, None)["qmsum"] < 1


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"LongEmbed.tasks: 'qasper' is no task; valid: needle, passkey"):
        LongEmbed(path="", tasks=("qasper",))
    with pytest.raises(ConfigError, match=r"Haystack.lengths=\(\) must be numbers of tokens"):
        Haystack(lengths=())
    with pytest.raises(DataError, match="qmsum is no folder: .* should be a copy of the data set dwzhu/LongEmbed"):
        read_long_embed(str(tmp_path), "qmsum")
    with pytest.raises(DataError, match="there is no task 'x'"):
        read_long_embed(str(tmp_path), "x")
    with pytest.raises(DataError, match="nowhere.txt"):
        Haystack(lengths=(64,), queries=1, documents=1, essays=str(tmp_path / "nowhere.txt")).run(Words(), None)


@pytest.mark.parametrize(
    ("documents", "queries", "qrels", "message"),
    [
        (
            [{"doc_id": "d", "text": "a"}],
            [{"qid": "q", "text": "a"}],
            [{"qid": "q", "doc_id": "e"}],
            "the document 'e', which there",
        ),
        ([{"doc_id": "d", "text": "a"}], [{"qid": "q", "text": "a"}], [], "qrels.jsonl holds no judgement"),
        ([], [], [], "corpus.jsonl holds no text"),
        ([{"doc_id": "d", "text": "a"}] * 2, [], [], "corpus.jsonl, line 2: there is a text with the doc_id 'd' already"),
        ([{"doc_id": "d", "text": "a", "context_length": "256"}], [], [], "'context_length' must be a number of tokens, not '256'"),
        ([{"id": "d", "text": "a"}], [], [], "line 1: 'doc_id' is missing; there are 'id', 'text'"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, documents, queries, qrels, message):
    with pytest.raises(DataError, match=message):
        read_long_embed(write(tmp_path, "qmsum", documents, queries, qrels), "qmsum")

"""A collection in BEIR's layout, and what may be wrong with one."""

import pytest
from fakes import write_collection

from jaxemb.data.beir import read_beir
from jaxemb.preprocess.base import DataError

DOCUMENTS, QUERIES = {"d1": "a wing", "d2": "a cell"}, {"q1": "wing", "q2": "cell"}


def test_a_collection(tmp_path):
    documents = {"d1": {"_id": "d1", "title": "Wings", "text": "fly"}, "d2": {"_id": "d2", "title": "", "text": "alone"}}
    found = read_beir(write_collection(tmp_path, documents, QUERIES, "q2\td1\t2\nq2\td2\t0\n"))
    assert found.document_ids == ["d1", "d2"] and found.documents == ["Wings fly", "alone"]
    assert (found.query_ids, found.queries, found.unjudged) == (["q2"], ["cell"], 1)
    assert found.judgements == {"q2": {"d1": 2, "d2": 0}}


def test_splits_and_a_file_of_judgements_without_header(tmp_path):
    path = write_collection(tmp_path, DOCUMENTS, QUERIES, "q1\td1\t1\n", split="dev")
    (tmp_path / "qrels" / "train.tsv").write_text("q2\td2\t1\n")
    assert read_beir(path, "valid").query_ids == ["q1"] and read_beir(path, "train").query_ids == ["q2"]
    with pytest.raises(DataError, match=r"has no qrels/test.tsv, the judgements of split='test'; valid: dev, train"):
        read_beir(path)


@pytest.mark.parametrize(
    ("documents", "qrels", "said"),
    [
        (DOCUMENTS, "q1\td9\t1\n", r"test.tsv, line 2: a judgement for the document 'd9', which there is not"),
        (DOCUMENTS, "q9\td1\t1\n", r"line 2: a judgement for the query 'q9', which there is not"),
        (DOCUMENTS, "q1\td1\t1.5\n", r"line 2: 'score' is a grade, a whole number of -100 to 100, not '1.5'"),
        (DOCUMENTS, "q1\td1\t101\n", r"line 2: 'score' is a grade"),
        (DOCUMENTS, "q1\td1\tyes\n", r"line 2: 'score' must be a number, not 'yes'"),
        (DOCUMENTS, "q1\td1\n", r"line 2: 2 columns; query-id, corpus-id, score need 3"),
        (DOCUMENTS, "q1\td1\t1\nq1\td1\t0\n", r"line 3: this pair was judged before, with the grade 1, now 0"),
        (DOCUMENTS, "", r"test.tsv holds no judgement"),
        ({}, "q1\td1\t1\n", r"corpus.jsonl holds no document"),
        ({"d1": {"_id": "d1"}}, "q1\td1\t1\n", r"corpus.jsonl, line 1: 'text' is missing; there are '_id'"),
        ({"d1": {"_id": 1, "text": "a"}}, "q1\td1\t1\n", r"corpus.jsonl, line 1: '_id' must be text, not 1"),
        ({"a": {"_id": "d1", "text": "a"}, "b": {"_id": "d1", "text": "b"}}, "", r"line 2: there is a document with the id 'd1'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, documents, qrels, said):
    with pytest.raises(DataError, match=said):
        read_beir(write_collection(tmp_path, documents, QUERIES, qrels))


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="no folder: a collection is one with corpus.jsonl"):
        read_beir(str(tmp_path / "nowhere"))

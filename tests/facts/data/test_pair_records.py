"""Records of pairs from every kind of file, and from STS-B and Cranfield as they are published."""

import datetime
import json
import pathlib

import pytest

from jaxemb.data.pair_records import Wanted, found_file, read_pairs, read_records, write_records
from jaxemb.preprocess.base import DataError

PLAIN = Wanted(0, None, False, False, False, ())
PUBLISHED = pathlib.Path(__file__).parents[4] / "shared" / "data"


def published(*parts):
    file = PUBLISHED.joinpath(*parts)
    if not file.is_file():
        pytest.skip(f"no published data: {file} is not there")
    return str(file)


def records(path, **changes):
    return read_pairs(*found_file(str(path), "path"), PLAIN._replace(**changes))


def collection(tmp_path, lines="q1\td2\t1\nq2\td1\t2\nq2\td2\t0\nq2\td3\t1\n"):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i}", "title": f"title {i}", "text": f"text {i}"}) + "\n" for i in (1, 2))
        + '{"_id": "d3", "text": ""}\n'
    )
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{i}", "text": f"query {i}"}) + "\n" for i in (1, 2)))
    file = tmp_path / "qrels" / "train.tsv"
    file.write_text("query-id\tcorpus-id\tscore\n" + lines)
    return file


@pytest.mark.parametrize(
    "pair", [("anchor", "positive"), ("question", "answer"), ("sentence1", "sentence2"), ("query", "document")]
)
def test_the_usual_names_are_guessed(tmp_path, pair):
    file = tmp_path / "x.tsv"
    file.write_text("\t".join([*pair, "negative_1", "negative_2"]) + "\na\tb\tc\td\ne\tf\t\tg\n")
    found = records(file, negatives=2)
    assert [(p.query, p.positive, p.negatives) for p in found] == [("a", "b", ("c", "d")), ("e", "f", ("g",))]


@pytest.mark.parametrize(
    ("rows", "negatives"),
    [
        ([{}, {"negatives": ["n", "m"]}], [(), ("n", "m")]),
        ([{"negative_1": "n"}, {"negative_2": "m", "negative_10": "l"}], [("n",), ("m", "l")]),
        ([{"negative": "n"}, {"negatives": ["m"], "negative_1": "l"}], [("n",), ("m", "l")]),
        ([{"negative_1": None, "negative_2": "n"}, {"negative_1": "", "negative_2": "m"}], [("n",), ("m",)]),
    ],
)
def test_any_row_may_lack_a_field_the_first_among_them(tmp_path, rows, negatives):
    file = tmp_path / "x.jsonl"
    file.write_text("\n".join(json.dumps({"query": "a", "positive": "b"} | row) for row in rows))
    assert [p.negatives for p in records(file, negatives=3)] == negatives
    assert [p.negatives for p in records(file, negatives=1)] == [own[:1] for own in negatives]
    assert [row.get("negatives", []) for _, row in read_records(str(file))] == [list(own) for own in negatives]


def test_scores_of_a_teacher_go_with_their_negatives(tmp_path):
    rows = [{"negative_1": None, "negative_2": "n", "teacher": x} for x in ([0.9, 0, 0.3], [0.9, 0.3], [0.9, None, 0.3])]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"query": "a", "positive": "b"} | row) for row in rows))
    assert [p.teacher for p in records(tmp_path / "x.jsonl", negatives=2, teacher=True)] == [(0.9, 0.3)] * 3
    assert [row["teacher"] for _, row in read_records(str(tmp_path / "x.jsonl"))] == [[0.9, 0.3]] * 3
    (tmp_path / "x.jsonl").write_text('{"query": "a", "positive": "b", "negatives": ["n"], "teacher": [1, 2, 3]}\n' * 2)
    with pytest.raises(DataError, match="line 1: 'teacher' must be a list of 2 numbers, .* not \\[1, 2, 3\\]"):
        records(tmp_path / "x.jsonl", negatives=1, teacher=True)


def test_columns_that_no_row_has_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("query,positive,query2\na,b,c\nc,d,e\n")
    for field, more in (("negatives", {"negatives": 1}), ("positive", {})):
        with pytest.raises(DataError, match=f"there is no 'hrad', which columns says is the {field}; the records have query, p"):
            records(tmp_path / "x.csv", columns=((field, "hrad"),), **more)
    with pytest.raises(DataError, match="line 2: 'query' is read from another column, as columns says; rename the one of this"):
        read_records(str(tmp_path / "x.csv"), (("query", "query2"),))


@pytest.mark.parametrize(("row", "said"), [({"x": b"a"}, "'x' holds bytes"), ({"x": "\ud800"}, "half of a character")])
def test_what_no_line_can_hold_is_named_and_nothing_is_written(tmp_path, row, said):
    with pytest.raises(DataError, match=f"row 2: .*{said}"):
        write_records(str(tmp_path / "x.jsonl"), [("row 1", {}), ("row 2", row)])
    assert not (tmp_path / "x.jsonl").exists()
    write_records(str(tmp_path / "x.jsonl"), [("row 1", {"day": datetime.date(2020, 1, 2)})])
    assert json.loads((tmp_path / "x.jsonl").read_text()) == {"day": "2020-01-02"}


def test_names_that_are_not_known_are_listed(tmp_path):
    (tmp_path / "x.csv").write_text("head,body\na,b\nc,d\n")
    with pytest.raises(DataError, match=r"there is no query, .*the records have head, body; data.columns="):
        records(tmp_path / "x.csv")
    named = records(tmp_path / "x.csv", columns=(("positive", "body"), ("query", "head")))
    assert [(p.query, p.positive) for p in named] == [("a", "b"), ("c", "d")]


def test_parquet_and_saved_datasets_are_files_of_pairs(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra `parquet`")
    import pyarrow.parquet as pq

    rows = [{"anchor": "a", "positive": "b", "negative": ["c", "d"]}, {"anchor": "e", "positive": "f", "negative": []}]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
    with pa.OSFile(str(tmp_path / "set" / "x.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for path in (tmp_path / "x.parquet", tmp_path / "set"):
        assert [(p.query, p.negatives) for p in records(path, negatives=2)] == [("a", ("c", "d")), ("e", ())]


def test_judgements_of_a_collection_are_pairs(tmp_path):
    found = records(collection(tmp_path), scores=(0.0, 4.0))
    assert [(p.query, p.positive, p.score) for p in found] == [("query 1", "title 2 text 2", 1), ("query 2", "title 1 text 1", 2)]
    assert found[0].where.endswith("train.tsv, query q1, document d2")


def test_a_file_without_a_header(tmp_path):
    (tmp_path / "x.csv").write_text('a,"b, b",2.5\nc,d,0\n')
    found = records(tmp_path / "x.csv", scores=(0.0, 5.0), header=False)
    assert [(p.query, p.positive, p.score) for p in found] == [("a", "b, b", 2.5), ("c", "d", 0.0)]
    with pytest.raises(DataError, match="line 1: 'score' is 2.5, and scores=.* says that it lies in 0 to 1"):
        records(tmp_path / "x.csv", scores=(0.0, 1.0), header=False)


def test_an_empty_text_is_refused_with_its_row(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"query": "a", "positive": "b"}\n{"query": "c", "positive": " "}\n')
    with pytest.raises(DataError, match="line 2: 'positive' is empty"):
        records(tmp_path / "x.jsonl")


def test_sts_b_as_it_is_published():
    found = records(published("sts", "stsb_en", "dev.csv"), scores=(0.0, 5.0), header=False)
    assert len(found) == 1500 and {p.score for p in found} >= {0.0, 5.0} and all(p.positive for p in found)


def test_cranfield_as_it_is_published():
    found = records(published("retrieval", "cranfield", "qrels", "test.tsv"))
    assert len(found) > 1000 and len({p.query for p in found}) > 180

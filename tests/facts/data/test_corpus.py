"""Texts that somebody wants to search."""

import json
import math

import pytest

from jaxemb.data.corpus import LONG, SHORT, passages, read_corpus, state_of, tags_of
from jaxemb.preprocess.base import DataError


def test_a_heading_begins_a_passage_and_short_paragraphs_are_joined():
    long = "word " * (SHORT // 5)
    lines = ["# one", "", "short", "", "short too", "", long, "", "next", "## two", "### three", "text"]
    assert list(passages(lines)) == [
        (1, f"# one\nshort\nshort too\n{long.strip()}"),
        (9, "next"),
        (10, "## two\n### three\ntext"),
    ]


def test_long_paragraphs_are_cut_at_lines_long_lines_at_sentences_and_nothing_is_lost():
    sentence = "This is one of many sentences. "
    lines = ["a" * 30] * 10 + [""] + [sentence * 10] + [""] + ["b" * 250]
    found = list(passages(lines, longest=100))
    assert max(len(text) for _, text in found) <= 100
    assert "".join("".join(text.split()) for _, text in found) == "".join("".join(lines).split())
    assert [n for n, _ in found] == sorted(n for n, _ in found) and {1, 4, 7, 10, 12, 14} <= {n for n, _ in found}
    assert all(text.endswith(".") for n, text in found if n == 12)
    assert list(passages(["", " "])) == [] and list(passages(["x" * LONG]))[0] == (1, "x" * LONG)


def test_tags_are_of_one_kind_and_lack_values():
    rows = [
        {
            "_id": "1",
            "text": "a",
            "title": "t",
            "year": "1990",
            "language": "de",
            "topics": ["a"],
            "mixed": 1,
            "deep": {},
            "none": None,
        },
        {"_id": "2", "text": "b", "year": "", "language": None, "mixed": "x", "abstract": "long " * 50},
    ]
    found, others = tags_of(rows)
    assert found["language"] == ["de", ""] and found["topics"] == [["a"], []] and set(found) == {"year", "language", "topics"}
    assert found["year"][0] == 1990 and math.isnan(found["year"][1])
    assert others == {
        "_id": "it is what the rows are called",
        "text": "it is the text that is searched",
        "title": "it is the text that is searched",
        "mixed": "the values are numbers and texts, and a tag is of one kind",
        "deep": "the values are of the type dict",
        "none": "no row has a value",
        "abstract": "it has texts of more than 100 characters",
    }
    found, others = tags_of(rows, column="text")
    assert "title" in found and "text" in others
    assert tags_of([{"a": [1, "x"]}])[1] == {"a": "its lists are numbers and texts, and a tag is of one kind"}


def test_rows_of_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("body,year\nx,1\n,2\nz,3\n")
    found = read_corpus(str(tmp_path / "a.csv"))
    assert found.items == ["x", "", "z"] and found.tags["year"] == [1, 2, 3]
    assert [w.rpartition("/")[2] for w in found.where] == ["a.csv:2", "a.csv:3", "a.csv:4"]
    filled = found.filled()
    assert filled.items == ["x", "z"] and filled.tags["year"] == [1, 3] and filled.where == found.where[::2]
    assert filled.remarks == ("1 of 3 without text left out",)
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": 7, "name": "only text"}) + "\n")
    assert read_corpus(str(tmp_path / "b.jsonl")).items == ["only text"] and read_corpus(str(tmp_path / "b.jsonl")).where == ["7"]
    (tmp_path / "c.jsonl").write_text("\n")
    with pytest.raises(DataError, match="c.jsonl has no row"):
        read_corpus(str(tmp_path / "c.jsonl"))


def test_a_folder_in_beirs_layout_is_its_corpus_and_hidden_files_are_none(tmp_path):
    (tmp_path / "a.txt").write_text("text\n")
    (tmp_path / ".hidden.txt").write_text("secret\n")
    assert read_corpus(str(tmp_path)).items == ["text"]
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "title": "A", "text": "b"}) + "\n")
    assert read_corpus(str(tmp_path)).items == ["A b"]


def test_the_state_of_a_corpus_is_that_of_its_files(tmp_path):
    assert state_of(str(tmp_path)) == "" and state_of(str(tmp_path / "nowhere")) == ""
    (tmp_path / "a.txt").write_text("text\n")
    first = state_of(str(tmp_path))
    (tmp_path / "a.py").write_text("text\n")
    assert state_of(str(tmp_path)) == first
    (tmp_path / "b.txt").write_text("text\n")
    assert state_of(str(tmp_path)) != first and state_of(str(tmp_path / "a.txt")) != ""

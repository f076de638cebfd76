"""Rows of CSV, TSV and JSON lines, and the line of what is wrong."""

import pytest

from jaxemb.data.records import number_of, read_rows, text_of
from jaxemb.preprocess.base import DataError


def rows(tmp_path, name, text, *, header=False, names=("a", "b")):
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [row for _, row in read_rows(str(file), names, header=header)]


def test_each_kind_of_file(tmp_path):
    expected = [{"a": 'he said "no", twice', "b": "2"}]
    assert rows(tmp_path, "x.csv", '"he said ""no"", twice",2\n\n') == expected
    assert rows(tmp_path, "x.csv", '\ufeffb,other,a\n2,,"he said ""no"", twice"\n', header=True) == expected
    assert rows(tmp_path, "x.tsv", 'he said "no", twice\t2\tmore\n') == expected
    assert rows(tmp_path, "x.jsonl", '{"a": "he said \\"no\\", twice", "b": "2"}\n') == expected


@pytest.mark.parametrize(
    ("name", "text", "header", "said"),
    [
        ("x.csv", "1,2\n3\n", False, r"x.csv, line 2: 1 columns; a, b need 2"),
        ("x.csv", "a,c\n1,2\n", True, r"line 1: the header has no column 'b'; there are 'a', 'c'"),
        ("x.jsonl", '{"a": 1, "b": 2}\n{"a": 1}\n', True, r"line 2: 'b' is missing; there are 'a'"),
        ("x.jsonl", "[1]\n", True, r"line 1: a line holds an object, \{'a', 'b'\}, not a list"),
        ("x.jsonl", "{\n", True, r"line 1: this is no JSON"),
        ("x.txt", "", False, r"x.txt: rows are read from .csv, .tsv, .jsonl and .parquet files"),
        ("x.csv", b"\xff,1\n", False, r"x.csv, line 1: this is no UTF-8: invalid start byte"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, text, header, said):
    with pytest.raises(DataError, match=said):
        rows(tmp_path, name, text, header=header)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no file .*x.csv"):
        list(read_rows(str(tmp_path / "x.csv"), ("a",), header=False))


def test_values_are_text_or_finite_numbers():
    assert number_of({"a": " 2.5 "}, "a", "here") == 2.5 and text_of({"a": ""}, "a", "here") == ""
    for value in ("five", "nan", float("inf"), None, True, 10**400):
        with pytest.raises(DataError, match="here: 'a' must be a number, not"):
            number_of({"a": value}, "a", "here")
    for value, said in ((None, "must be text, not None"), ("\ud800", "half of a character")):
        with pytest.raises(DataError, match=f"here: 'a' .*{said}"):
            text_of({"a": value}, "a", "here")

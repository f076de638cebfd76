"""Files of strangers: regular ones alone, of a size, JSON without traps; every refusal is a FileError that names the file."""

import json
import os
import time

import pytest

from jaxemb.files import DEEPEST, FileError, is_folder, is_regular, parse_json, printable, read_json, read_text


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    """A FIFO would hang, /dev/zero would fill the memory: the answer comes at once."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    began = time.monotonic()
    for file in (tmp_path / "fifo", "/dev/zero", "/dev/stdin", tmp_path, tmp_path / "loop"):
        assert not is_regular(file)
        with pytest.raises(FileError, match="is not a regular file"):
            read_json(file)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "x/" * 3000, "nothing"])
def test_names_that_cannot_be(tmp_path, name):
    assert not is_regular(tmp_path / name) and not is_folder(tmp_path / name)
    with pytest.raises(FileError, match="there is no file") as e:
        read_text(tmp_path / name)
    assert len(str(e.value)) < 400 and str(e.value).isprintable()


def test_a_file_that_is_too_large(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 2**20)
    assert len(read_text(tmp_path / "a", 2**20)) == 2**20
    (tmp_path / "a").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(FileError, match="larger than 1 MiB"):
        read_text(tmp_path / "a", 2**20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5000, "nested 5000 deep, more than 60"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested 5000 deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested 61 deep"),
        ("9" * 400, "the integer 99999999999999999999... needs more than 64 bits"),
        (str(2**63), "more than 64 bits"),
        ("9" * 5000, "more than 64 bits"),
        ("{", "Expecting"),
        ("", "Expecting"),
        ("\ufffd\ufffd", "Expecting"),
    ],
)
def test_json_with_traps(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError, match=f"a.json is damaged: .*{message}"):
        read_json(tmp_path / "a.json")


def test_json_without_traps():
    for x in ([], {"a": [1, -(2**63), 2**63 - 1, 0.5, None, True]}, "text", 3, None, [[[]]]):
        assert parse_json(json.dumps(x)) == x
    deep = json.loads("[" * DEEPEST + "]" * DEEPEST)
    assert parse_json(json.dumps(deep)) == deep


def test_names_are_shown_in_one_line():
    assert printable("a\nb\x1b[31m\udcff ü.png") == "a\\nb\\x1b[31m\\udcff ü.png"
    assert len(printable("x" * 10_000)) < 300

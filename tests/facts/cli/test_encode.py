"""`jaxemb encode` on pretrained folders and files of texts."""

import json

import numpy as np
import pytest
from pretrained import bert, chain

from jaxemb.cli import main
from jaxemb.io.embedder import Embedder

TEXTS = ["the cat", "", "a dog ran"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return chain(bert(tmp_path_factory.mktemp("st")), ("Pooling", {"pooling_mode": "mean"}), prompts={"query": "query : "})


@pytest.fixture(scope="module")
def model(folder):
    return Embedder.from_pretrained(folder)


def test_a_line_is_a_row_and_the_report_comes_last(folder, model, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n".join([*TEXTS, "the " * 20]) + "\n")
    assert main(["encode", str(folder), str(tmp_path / "a.txt"), str(tmp_path / "a.npy")]) == 0
    said = capsys.readouterr().out
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), model.encode([*TEXTS, "the " * 20]), atol=1e-6)
    assert "4 embeddings of 8 numbers" in said and "1 rows cut to 16 tokens, 6 of" in said and "pooling Mean()" in said
    assert not (tmp_path / "a.txt.npy").exists() and (tmp_path / "a.txt").read_text().startswith("the cat")


def test_columns(folder, model, tmp_path):
    wanted = model.encode(TEXTS, prompt_name="query", normalize_embeddings=True, truncate_dim=5)
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f'{i},"{t}"\n' for i, t in enumerate(TEXTS)))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    for name in ("a.csv", "a.jsonl"):
        how = ["--column", "text", "--prompt-name", "query", "--normalize", "--truncate-dim", "5", "--batch", "2"]
        assert main(["encode", str(folder), str(tmp_path / name), str(tmp_path / "b.npy"), *how]) == 0
        np.testing.assert_allclose(np.load(tmp_path / "b.npy"), wanted, atol=1e-6)


def test_found_ranges_are_written_for_what_comes_later(folder, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    run = ["encode", str(folder), str(tmp_path / "a.txt"), str(tmp_path / "a.npy"), "--precision", "int8"]
    assert main(run) == 0
    first = np.load(tmp_path / "a.npy")
    assert first.dtype == np.int8 and np.load(tmp_path / "a.ranges.npy").shape == (2, 8)
    assert main([*run[:3], str(tmp_path / "b.npy"), *run[4:], "--ranges", str(tmp_path / "a.ranges.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), first)
    assert not (tmp_path / "b.ranges.npy").exists()


@pytest.mark.parametrize(
    "name, content, how, message",
    [
        ("a.csv", "id,text\n1,a\n2\n", ["--column", "text"], "a.csv, line 3: 1 columns; text need 2"),
        ("a.csv", "id,text\n", ["--column", "body"], "line 1: the header has no column 'body'; there are 'id', 'text'"),
        ("a.csv", "id,text\n", [], "a.csv has rows of several values: --column names the one to embed"),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n', ["--column", "text"], "a.jsonl, line 2: 'text' must be text, not None"),
        ("a.jsonl", '{"text": "a"}\n{\n', ["--column", "text"], "a.jsonl, line 2: this is no JSON"),
        ("a.txt", "a\n", ["--column", "text"], "--column is for texts in .csv, .tsv, .jsonl, .parquet files"),
        ("a.txt", "a\n", ["--set", "maxlength=3"], "--set maxlength=...: a pretrained model is not opened with it"),
        ("a.txt", "a\n", ["--prompt-name", "q"], "prompt_name='q': there is no such prompt"),
        ("a.txt", "a\n", ["--prompt", "x", "--prompt-name", "query"], "two prompts"),
        ("a.txt", "a\n", ["--precision", "int4"], "precision='int4'"),
        ("a.txt", "a\n", ["--precision", "int8", "--ranges", "nowhere.npy"], "--ranges nowhere.npy: no array can be read"),
    ],
)
def test_refused(folder, tmp_path, capsys, name, content, how, message):
    (tmp_path / name).write_text(content)
    assert main(["encode", str(folder), str(tmp_path / name), str(tmp_path / "out.npy"), *how]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.npy").exists()

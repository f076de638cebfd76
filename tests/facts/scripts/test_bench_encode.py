"""The benchmark of encoding makes texts of the lengths it names and counts right. No test looks at a time."""

import csv
import importlib
import pathlib
import sys

import numpy as np
import pytest

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module", autouse=True)
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))
    for name in ("bench", "bench_encode", "random_model"):
        sys.modules.pop(name, None)


@pytest.fixture
def bench():
    return importlib.import_module("bench_encode")


@pytest.fixture
def folder(golden):
    if not (found := golden / "hf" / "st_bert").is_dir():
        pytest.skip(f"no reference folder {found}")
    return found


def test_texts_have_the_tokens_of_their_task(bench, folder):
    from tokenizers import Tokenizer

    count = lambda text: len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids)  # noqa: E731
    made, lengths = bench.texts(folder, "32", 0.02)
    assert len(made) == 5 and lengths == [32] * 5 and {count(t) for t in made} == {32}
    made, lengths = bench.texts(folder, "mixed", 0.02, window=60)
    assert len(made) == 20 and len(set(lengths)) > 5 and max(lengths) <= 60 and lengths == [count(t) for t in made]


def test_figures_by_hand(bench):
    times, first = np.array([[2.0, 4.0], [6.0, 3.0], [4.0, 5.0]]), np.array([[1.0, 2.0], [2.0, 3.0], [4.0, 1.0]])
    found = bench.figures(times, first, count=8, tokens=80, work=2e12, peak=1.0)
    assert found["seconds"] == 4 and found["texts_s"] == 2 and found["tokens_s"] == 20 and found["gflop_s"] == 500
    assert found["ratio"] == 2 and found["ratio_low"] == 1 and found["ratio_high"] == 3 and found["cpu_ratio"] == 2
    assert found["mfu"] == 0.5


def test_flops_by_hand(bench, tmp_path):
    from safetensors.numpy import save_file

    names = {
        "embeddings.word_embeddings.weight": (9, 8),
        "layer.q.weight": (8, 8),
        "pooler.dense.weight": (8, 8),
        "norm.bias": (8,),
    }
    save_file({name: np.zeros(shape, np.float32) for name, shape in names.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2, "hidden_size": 8, "num_hidden_layers": 3}')
    assert bench.flops(tmp_path, [5, 7]) == sum(2 * n * 64 + 3 * 4 * n * n * 8 for n in (5, 7))


def test_what_is_not_installed_is_left_out(bench, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bench.available(["jaxemb", "onnx"]) == ["jaxemb"]
    assert "sentence_transformers is not installed: without onnx" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="--model: no folder given"):
        bench.minilm()


def test_a_random_model_has_the_weights_that_its_config_names(tmp_path):
    """Every tensor is there in the shape that the model wants, and no other but the pooler's is wanted; texts are of its words."""
    from jaxemb.io.embedder import Embedder

    folder = importlib.import_module("random_model").random_folder("bert_tiny", None, tmp_path / "model")
    model = Embedder.from_pretrained(folder)
    made, lengths = importlib.import_module("bench_encode").texts(folder, "32", 0.02)
    z = model.encode(made)
    assert z.shape == (5, 32) and np.isfinite(z).all() and lengths == [32] * 5
    assert np.abs(z[0] - z[1]).max() > 1e-3  # other words, another vector


@pytest.mark.parametrize("wrong", ["--tasks 64", "--systems tensorflow", "--shape gpt"])
def test_unknown_words_are_named(bench, wrong, capsys):
    with pytest.raises(SystemExit):
        bench.parse(wrong.split())
    assert f"{wrong.split()[1]!r} is not one of" in capsys.readouterr().err


def test_a_whole_run_writes_a_row_a_task(bench, folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.csv"
    asked = f"--model {folder} --systems jaxemb --tasks 32,mixed --tiny --window 40 --no-fresh --out {out}"
    monkeypatch.setattr(sys, "argv", ["bench_encode.py", *asked.split()])
    bench.main()
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["task"] for row in rows] == ["32", "mixed"] and set(rows[0]) == set(bench.COLUMNS)
    assert all(float(row["ratio"]) == 1 and float(row["tokens_s"]) > 0 and float(row["difference"]) == 0 for row in rows)
    assert "rows added" in capsys.readouterr().out

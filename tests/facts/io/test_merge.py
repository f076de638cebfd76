"""Folders merged from the command line: the tensors of the result, and what is refused."""

import numpy as np
import pytest
from pretrained import bert, chain, tokenizer
from safetensors.numpy import load_file

from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.io.merge import merge_models
from jaxemb.transforms.merge import Average, Fisher, Ties

MEAN = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    top = tmp_path_factory.mktemp("models")
    return {name: chain(bert(top / name, seed=i), ("Pooling", MEAN)) for i, name in enumerate(("base", "a", "b"))}


def test_every_tensor_of_the_folder_is_merged_and_it_embeds(folders, tmp_path, capsys):
    a, b, base = (str(folders[name]) for name in ("a", "b", "base"))
    out = tmp_path / "both"
    changes = ["--method", "task_arithmetic", "--base", base, "--set", "scale=[0.5, -1]"]
    assert main(["merge", a, b, *changes, "--out", str(out)]) == 0
    assert "TaskArithmetic(scale=(0.5, -1.0)) of" in capsys.readouterr().out
    first, second, start, made = (load_file(f"{folder}/model.safetensors") for folder in (a, b, base, out))
    left = [name for name in start if "pooler" not in name]  # a head that this pooling has no use for
    for name in left:
        expected = start[name] + 0.5 * (first[name] - start[name]) - (second[name] - start[name])
        np.testing.assert_allclose(made[name], expected, atol=1e-5, err_msg=name)
    assert np.isfinite(Embedder.from_pretrained(out).encode(["the cat sat"])).all()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["a", "b", "--method", "tie"], "did you mean 'ties'? valid: average, dare"),
        (["a", "b", "--method", "ties"], "give it as `base`"),
        (["a", "b", "--method", "self_positioning", "--base", "base"], "call it from Python"),
        (["a", "b", "--method", "ties", "--base", "base", "--set", "density=1.5"], "in (0, 1], not 1.5"),
        (["a", "b", "--set", "weights=[1, 2, 3]"], "3 numbers for 2 models"),
        (["a", "--method", "average"], "nothing to merge"),
    ],
)
def test_what_cannot_be_merged_is_said(folders, tmp_path, capsys, args, words):
    named = [str(folders.get(x, x)) for x in args]
    assert main(["merge", *named, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_architecture_or_tokenizer_is_named(folders, tmp_path):
    longer = chain(bert(tmp_path / "longer", rows=32), ("Pooling", MEAN))
    with pytest.raises(ConfigError, match=r"longer is of another architecture than .*a: .* is \(32, 8\), and \(24, 8\) in"):
        merge_models(Average(), [folders["a"], longer])
    other = chain(bert(tmp_path / "other"), ("Pooling", MEAN))
    (other / "tokenizer.json").write_text(tokenizer(words=("on", "mat")))
    with pytest.raises(ConfigError, match="other has another tokenizer than"):
        merge_models(Ties(), [folders["a"], folders["b"]], other)
    unit = chain(bert(tmp_path / "unit"), ("Pooling", MEAN), ("Normalize", {}))
    with pytest.raises(
        ConfigError, match=r"unit has another heads than .*a: \(Unit\(\),\), and there \(\); what is merged must agree"
    ):
        merge_models(Average(), [folders["a"], unit])
    with pytest.raises(ConfigError, match="call it from Python"):
        merge_models(Fisher(), [folders["a"], folders["b"]])

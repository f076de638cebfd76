"""`jaxemb show FOLDER`: what a pretrained folder would become, from configs and headers alone."""

import json
import shutil

import numpy as np
import pytest
from pretrained import WIDTH, bert, chain
from safetensors.numpy import load_file, save_file

from jaxemb.cli import main
from jaxemb.io.embedder import Embedder
from jaxemb.io.pretrained import architecture
from jaxemb.io.preview import preview
from jaxemb.io.tensors import SINGLE, TensorFiles
from jaxemb.nn.hf.base import Towers, families

DENSE = {"in_features": WIDTH, "out_features": 9, "activation_function": "torch.nn.modules.activation.Tanh"}


def facts(folder):
    return dict(preview(folder).facts)


def test_models_of_texts_of_images_and_of_both_show_their_parameters(golden):
    """The first golden folder of each kind; that all folders fit is tried where they are loaded."""
    kinds = {}
    for config in sorted((golden / "hf").glob("*/config.json")):
        if json.loads(config.read_text())["model_type"] in families():
            whole = architecture(config.parent)
            stem = None if isinstance(whole, Towers) else type(whole.encoder.module.stem)
            kinds.setdefault(stem, config.parent)
    for folder in kinds.values():
        found = preview(folder)
        assert not found.complaint, (folder, found.complaint)
        assert 0 < sum(p.count for p in found.parameters) <= TensorFiles(folder).bytes / 2
    assert len(kinds) >= 3


def test_a_chain_in_words(golden, monkeypatch):
    monkeypatch.setattr(TensorFiles, "mapped", lambda *_: pytest.fail("a tensor was read"))
    folder = golden / "hf" / "st_bert"
    dense = json.loads((folder / "2_Dense" / "config.json").read_text())
    found = facts(folder)
    assert found["modules"] == f"Transformer -> mean -> Dense({dense['in_features']} -> {dense['out_features']}, tanh) -> Normalize"
    prompts = json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]
    assert all(f"{name}: {text!r}" in found["prompts"] for name, text in prompts.items())
    assert "F32" in found["weights"] and found["architecture"].startswith("bert (")


def test_what_a_chain_or_an_own_folder_lacks_is_said(tmp_path, capsys):
    at = chain(bert(tmp_path / "st"), ("Pooling", {"pooling_mode": "mean"}), ("Dense", DENSE), ("Normalize", None))
    assert not preview(at).complaint
    model = Embedder.from_pretrained(at)
    save_file({"linear.weight": np.ones((3, WIDTH), np.float32)}, at / "2_Dense" / SINGLE)
    said = preview(at).complaint
    assert "of 2_Dense" in said and "linear.bias" in said and "1 of another shape" in said
    (at / "2_Dense" / SINGLE).unlink()
    assert main(["show", str(at)]) == 2
    assert "2_Dense holds no weights" in " ".join(capsys.readouterr().err.split())
    model.origin = None
    model.save_pretrained(tmp_path / "own")
    assert not preview(tmp_path / "own").complaint
    arrays = load_file(tmp_path / "own" / SINGLE)
    arrays.pop("params/encoder/block_0/attention/q/kernel")
    save_file(arrays, tmp_path / "own" / SINGLE)
    assert main(["show", str(tmp_path / "own")]) == 2
    out = capsys.readouterr()
    assert "1 missing there" in out.err and "block_0/attention/q/kernel" in out.err and "find their places" not in out.out


def test_heads_are_left_behind_and_a_missing_tokenizer_is_said(golden):
    found = facts(golden / "hf" / "bert_legacy")
    assert found["names begin with"] == "bert." and "cls.predictions.bias" in found["left behind"]
    assert "has no tokenizer.json" in found["texts"] and found["pooler"] == "Pooler: in the file"


def test_the_verb(golden, tmp_path, capsys):
    assert main(["show", str(golden / "hf" / "bert")]) == 0
    out = capsys.readouterr().out
    assert "all tensors find their places" in out and "encoder/block_*/attention/q" in out
    shutil.copy(golden / "hf" / "bert" / "config.json", tmp_path)
    assert main(["show", str(tmp_path)]) == 2
    assert "holds no weights" in capsys.readouterr().err
    shutil.copy(golden / "hf" / "bert_legacy" / SINGLE, tmp_path)  # of other sizes
    assert main(["show", str(tmp_path)]) == 2
    assert "of another shape or dtype" in capsys.readouterr().err
    (tmp_path / "config.json").unlink()
    assert main(["show", str(tmp_path)]) == 2
    assert "has no config.json" in " ".join(capsys.readouterr().err.split())

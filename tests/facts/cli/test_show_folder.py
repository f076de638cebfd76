"""`jaxemb show FOLDER`: what a pretrained folder would become, from configs and headers alone."""

import json
import shutil

import pytest

from jaxemb.cli import main
from jaxemb.io.pretrained import architecture
from jaxemb.io.preview import preview
from jaxemb.io.tensors import SINGLE, TensorFiles
from jaxemb.nn.hf.base import Towers, families


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

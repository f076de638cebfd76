"""Texts taken apart and put together, by a model without parameters that gives a text the sum and the largest of its ids."""

import json

import jax
import numpy as np
import pytest
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.evals.long_embed import Haystack
from jaxemb.io.embedder import Embedder
from jaxemb.io.text_model import TextModel
from jaxemb.io.windows import Windowed
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.preprocess.windows import ParallelWindows
from jaxemb.train.sharding import make_mesh

WORDS = ["[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(20)), "query"]
SPECIAL = [{"id": i, "content": w, "special": True, "normalized": False} for i, w in enumerate(WORDS[:3])]
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False}
SINGLE = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
AROUND = {
    "type": "TemplateProcessing",
    "single": [*SINGLE, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "pair": [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
    "special_tokens": {w: {"id": w, "ids": [i], "tokens": [w]} for i, w in enumerate(WORDS[:3])},
}
TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [token | FLAGS for token in SPECIAL],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": AROUND,
        "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }
)
PREPROCESS = PretrainedText(length=7, learned=TOKENIZER)


class Sums(nn.Module):
    def encode(self, batch, role="document"):
        ids = batch["tokens"] * batch["mask"].astype("int32")
        return jax.numpy.stack([ids.sum(1), ids.max(1)], axis=1).astype("float32")


def embedder(how, normalize=False, **options):
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    return Embedder(Sums(), {}, PREPROCESS, {"query": "query "}, mesh, windows=Windowed(how, normalize), **options)


def text(*ids):
    return " ".join(f"w{i}" for i in ids)


LONG, SHORT = text(*range(12)), text(4, 5)
WINDOWS = [[1, *range(3, 8), 2], [1, *range(8, 13), 2], [1, *range(10, 15), 2]]
EXPECTED = np.array([[sum(w), max(w)] for w in WINDOWS], np.float32)


def test_the_mean_of_windows_that_each_have_their_special_tokens():
    model = embedder(ParallelWindows())
    z = model.encode([SHORT, LONG])
    np.testing.assert_array_equal(z, [[1 + 7 + 8 + 2, 8], EXPECTED.mean(0)])
    np.testing.assert_array_equal(model.encode(LONG), z[1])
    np.testing.assert_array_equal(model.encode([LONG, SHORT], batch_size=1), z[::-1])
    assert model.encode([]).shape == (0, 2)
    z, report = model.encode([SHORT, LONG], report=True)
    assert (report.rows, report.rows_cut, report.tokens) == (2, 0, 4 + 3 * 7)


def test_vectors_get_length_one_after_the_mean():
    z = embedder(ParallelWindows(), normalize=True).encode(LONG)
    mean = EXPECTED.mean(0)
    np.testing.assert_allclose(z, mean / np.linalg.norm(mean), rtol=1e-6)


def test_each_window_has_the_prompt():
    z = embedder(ParallelWindows()).encode_query(LONG)  # six of the seven tokens leave four for the text, and the prompt is one
    query, rows = WORDS.index("query"), [range(3, 7), range(7, 11), range(11, 15)]
    np.testing.assert_allclose(z, np.mean([[1 + query + sum(r) + 2, query] for r in rows], 0), rtol=1e-6)


def test_a_vector_a_window_and_the_nearest_of_them():
    model = embedder(ParallelWindows(reduce="max", original=7))
    z = model.encode([LONG, SHORT])
    np.testing.assert_array_equal(z[0], EXPECTED)
    own = EXPECTED / np.linalg.norm(EXPECTED, axis=1, keepdims=True)
    other = z[1] / np.linalg.norm(z[1])
    np.testing.assert_allclose(model.similarity(z, z[1:]), [[(own @ other.T).max()], [1]], rtol=1e-6)
    assert [x.shape for x in model.encode([LONG, SHORT], truncate_dim=1, normalize_embeddings=True)] == [(3, 1), (1, 1)]


def test_a_single_text_is_one_row_of_similarities():
    model = embedder(ParallelWindows(reduce="max", original=7))
    z, one = model.encode([LONG, SHORT]), model.encode(LONG)
    assert one.shape == (3, 2)
    np.testing.assert_allclose(model.similarity(one, z), model.similarity(z, z)[:1], rtol=1e-6)
    assert model.similarity(z, one).shape == (2, 1) and model.similarity(model.encode([]), z).shape == (0, 2)
    np.testing.assert_allclose(model.similarity_pairwise(z, z[::-1]), model.similarity(z, z)[[0, 1], [1, 0]], rtol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(one, one), [1], rtol=1e-6)


def test_facts_in_long_texts_are_looked_for_with_a_vector_a_window():
    model = TextModel(embedder(ParallelWindows(reduce="max")))
    assert model.encode_texts([LONG, SHORT], role=None, prompt=None).over == "max"
    got = Haystack(lengths=(32,), queries=3, documents=4).run(model, None)
    assert {*got} == {"passkey@32", "passkey", "needle@32", "needle"} and all(0 <= x <= 1 for x in got.values())


@pytest.mark.parametrize(
    ("how", "options", "message"),
    [
        (ParallelWindows(), {"output_value": "token_embeddings"}, "a vector a token is one of a whole text, which ParallelWindows"),
        (ParallelWindows(reduce="max"), {"precision": "int8"}, "of a vector a window needs `ranges`"),
        (ParallelWindows(), {"prompt": "query " * 5}, "a window of 7 tokens has no room for text beside the 7"),
        (ParallelWindows(original=9), {}, "original=9 is more than the 7 tokens that the model takes"),
    ],
)
def test_what_cannot_be(how, options, message):
    with pytest.raises(ConfigError, match=message):
        embedder(how).encode([LONG, SHORT], **options)

"""Longer texts than a pretrained folder takes, by the field `extend`."""

import json

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.posemb.extended import Extended
from jaxemb.posemb.rescale import YaRN
from jaxemb.posemb.reuse import Grouped
from jaxemb.posemb.self_extend import SelfExtend
from jaxemb.preprocess.windows import ParallelWindows
from jaxemb.train.sharding import make_mesh


@pytest.fixture(scope="module")
def folder(golden):
    folder = golden / "hf" / "st_bert"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def opened(folder, extend=None, **options):
    return Embedder.from_pretrained(folder, extend=extend, mesh=make_mesh({"data": 1}, jax.devices()[:1]), **options)


@pytest.fixture(scope="module")
def rows(folder):
    return json.loads((folder / "config.json").read_text())["max_position_embeddings"]


def test_a_long_text_is_read_to_its_end_and_whatever_is_beside_it(folder, rows):
    plain, model = opened(folder), opened(folder, Grouped(factor=None, original=rows))
    short = "a cat"
    long = "a cat sat on a mat " * rows
    np.testing.assert_allclose(model.encode(short), plain.encode(short), atol=1e-6)
    z, report = model.encode([long, f"{long} the end", short], batch_size=8, report=True)
    assert report.rows_cut == 0 and report.tokens > 6 * rows and np.isfinite(z).all()
    assert np.abs(z[0] - z[1]).max() > 1e-5
    np.testing.assert_allclose(model.encode(long), z[0], atol=2e-6)


def test_windows_of_what_the_folder_says(folder):
    plain, model = opened(folder), opened(folder, ParallelWindows())
    assert model.max_length == plain.max_length and model.windows.normalize
    long = "a cat sat on a mat " * plain.max_length
    np.testing.assert_allclose(model.encode(["a cat", long])[0], plain.encode("a cat"), atol=1e-6)
    assert np.linalg.norm(model.encode(long)) == pytest.approx(1, abs=1e-5)


def test_how_long_texts_may_be(folder, rows):
    assert opened(folder, Grouped(factor=3, original=rows)).max_length == 3 * rows
    assert opened(folder, Grouped(factor=3, original=rows), max_length=rows + 1).max_length == rows + 1
    tuned = opened(folder, Extended(original=rows, factor=2))
    assert tuned.max_length == 2 * rows and tuned.variables["params"]["encoder"]["pos"]["rows"].shape[0] == rows


def test_what_the_model_cannot_take(folder, rows):
    with pytest.raises(ConfigError, match="cannot wrap Learned, only Rotary; .*which takes: Interpolated, Grouped, Recurrent"):
        opened(folder, SelfExtend())
    with pytest.raises(ConfigError, match=f"with extend=Grouped this model takes 1 to {2 * rows} tokens"):
        opened(folder, Grouped(factor=2, original=rows), max_length=2 * rows + 1)
    with pytest.raises(ConfigError, match="max_length=.*; `extend` reads longer texts"):
        opened(folder, max_length=rows + 1)


def test_the_window_of_a_rotary_folder_is_never_made_smaller(golden):
    folder = golden / "hf" / "st_decoder"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    window = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    with pytest.raises(ConfigError, match=f"YaRN.original={window - 1} is less than the {window} positions"):
        opened(folder, YaRN(factor=4.0, original=window - 1))
    assert opened(folder, YaRN(factor=4.0, original=window)).max_length == 4 * window

"""Models of texts and images as Embedders: both towers' vectors and the logits that transformers stored, from whole folders."""

import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from pretrained import tokenizer

from jaxemb.config import ConfigError
from jaxemb.io.embedder import Embedder
from jaxemb.train.sharding import make_mesh

ROOT = pathlib.Path(os.environ.get("JAXEMB_GOLDEN", pathlib.Path(__file__).parents[3] / "shared" / "golden")) / "hf"
FOLDERS = [
    f.parent for f in sorted(ROOT.glob("*/config.json")) if json.loads(f.read_text()).get("model_type") in ("clip", "siglip")
]


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda f: f.name)
def case(request, tmp_path_factory):
    """The folder with a tokenizer, as an Embedder; what is stored."""
    folder = tmp_path_factory.mktemp("towers") / request.param.name
    shutil.copytree(request.param, folder, copy_function=shutil.copyfile)
    (folder / "tokenizer.json").write_text(tokenizer())
    with np.load(folder / "outputs.npz") as z:
        stored = dict(z)
    tolerances = json.loads((folder / "tolerances.json").read_text())
    return Embedder.from_pretrained(folder, mesh=make_mesh({"data": 1}, jax.devices()[:1])), stored, tolerances


def test_vectors_and_logits(case):
    model, stored, tolerances = case
    pixels, ids = np.moveaxis(stored["batch0__pixel_values"], 1, -1), stored["batch0__input_ids"].astype(np.int32)
    mask = stored.get("batch0__attention_mask", np.ones_like(ids)).astype(bool)
    batch = {"text": {"tokens": ids, "mask": mask}, "image": {"images": pixels}}
    got = jax.jit(lambda v, b: (model.model.apply(v, b["text"]), model.model.apply(v, b["image"]), model.model.apply(v, b)))(
        model.variables, batch
    )
    for name, x in zip(("batch0__text__features", "batch0__vision__features", "batch0__logits_per_image"), got, strict=True):
        np.testing.assert_allclose(x, stored[name], rtol=0, atol=tolerances[name]["atol"], err_msg=name)


def test_strings_are_texts_and_the_rest_images_in_any_order(case, tmp_path):
    model, _, _ = case
    x = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    Image.fromarray(x[0]).save(tmp_path / "a.png")
    images, texts = model.encode(x), model.encode(["the cat", "a dog ran"])
    mixed, report = model.encode(["the cat", tmp_path / "a.png", "a dog ran", Image.fromarray(x[1])], report=True)
    np.testing.assert_allclose(mixed, [texts[0], images[0], texts[1], images[1]], atol=1e-5)
    assert model.similarity(images, texts).shape == (2, 2) and model.encode([]).shape == (0, texts.shape[1])
    assert report.rows == 4 and report.max_length == model.preprocess.length
    assert model.encode("the cat").shape == model.encode(tmp_path / "a.png").shape == texts[0].shape


@pytest.mark.parametrize("kind", ["siglip2", "siglip2_vision_model"])
def test_images_that_keep_their_proportions_are_refused(kind, tmp_path):
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "num_patches": 4}
    config = {"model_type": kind, "text_config": {}, "vision_config": sizes, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"model_type='{kind}' cuts each image into patches of its own grid"):
        Embedder.from_pretrained(tmp_path)

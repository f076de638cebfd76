"""A run embeds from its path alone, whatever form the inputs have."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.io.embedder import Embedder
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block, stack_blocks
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify


def test_attention_of_every_layer_also_where_layers_are_scanned(model, images):
    arrays = model.preprocess(images)
    (layer,) = model.attention(arrays)
    assert layer.shape == (10, 16, 2, 16)
    np.testing.assert_allclose(layer.sum(-1), 1, rtol=1e-5)
    two = (Block(Attention(2)), Block(Attention(2, window=0)))
    encoder = Transformer(stem=Patches(2), width=16, depth=4, blocks=two)
    plain = Classify(encoder=encoder)
    variables = jax.jit(plain.init)(jax.random.key(0), {**arrays, "labels": np.zeros(10, np.int32)})
    params = dict(variables["params"])
    params["encoder"] = stack_blocks(params["encoder"], 2)
    scanned = Embedder(Classify(encoder=encoder.clone(scan=True)), {"params": params}, model.preprocess, mesh=model.mesh)
    one, other = Embedder(plain, variables, model.preprocess, mesh=model.mesh).attention(arrays), scanned.attention(arrays)
    assert len(one) == len(other) == 4
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert [bool((np.diagonal(x, axis1=1, axis2=3) > 0.999).all()) for x in other] == [False, True] * 2


# ---- inputs ----------------------------------------------------------------------------------------------------------------------


def test_an_image_in_any_form_gives_the_same_embedding(model, images, z, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(10)]
    pillow = [Image.fromarray(x[..., 0]) for x in images]
    for image, file in zip(pillow, files, strict=True):
        image.save(file)
    forms = [list(images), list(images[..., 0]), images / 255, tuple(pillow), files, [*map(str, files)], [*files[:5], *images[5:]]]
    for form in forms:
        np.testing.assert_array_equal(model.encode(form), z)
    assert z.dtype == np.float32 and z.shape == (10, 16)


def test_a_single_file_gives_a_single_vector(model, images, z, tmp_path):
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "a.png")
    for name in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(model.encode(name), z[0])
    half = model.encode(tmp_path / "a.png", truncate_dim=4, normalize_embeddings=True)
    assert half.shape == (4,) and np.linalg.norm(half) == pytest.approx(1)


def test_nothing_gives_no_rows_of_the_right_width(model, images):
    for nothing in ([], images[:0]):
        assert model.encode(nothing).shape == (0, 16)
    assert model.encode([], truncate_dim=3, normalize_embeddings=True).shape == (0, 3)


def test_other_sizes_and_colours_are_brought_to_those_of_the_data(model, images, z):
    large = np.repeat(np.repeat(images, 2, 1), 2, 2)  # shrinking by whole factors takes the mean of equal pixels
    np.testing.assert_array_equal(model.encode(large), z)
    assert np.abs(model.encode(np.repeat(images, 3, -1)) - z).max() < 0.05  # luminance may round a grey level down


@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_the_size_of_the_pieces_changes_nothing(model, images, z, size):
    np.testing.assert_allclose(model.encode(list(images), batch_size=size), z, atol=1e-5)


def test_length_one_and_the_first_entries(model, images, z):
    unit = model.encode(images, normalize_embeddings=True)
    np.testing.assert_allclose(unit, z / np.linalg.norm(z, axis=1)[:, None], rtol=1e-6)
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(model.encode(images, truncate_dim=5), z[:, :5])
    short = model.encode(images, truncate_dim=5, normalize_embeddings=True)  # cut first: what is left has length 1
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, rtol=1e-6)


def test_a_progress_bar_changes_nothing(model, images, z, capsys):
    np.testing.assert_array_equal(model.encode(images, show_progress_bar=True), z)
    assert "encoding" in capsys.readouterr().out


def test_similarities_are_cosines(model):
    a, b = np.float32([[1, 0], [3, 4], [0, 0]]), np.float32([[0, 2], [5, 0]])
    np.testing.assert_allclose(model.similarity(a, b), [[0, 1], [0.8, 0.6], [0, 0]], atol=1e-7)


def test_features_are_those_of_the_tokens(model, experiment):
    arrays = {"images": experiment.data.split("test").sample(3)[:]["images"]}
    features = model.features(arrays)
    assert features.tokens.shape == (3, 16, 16)  # 4 x 4 patches, width 16
    pooled = model.encode([experiment.data.examples("test").columns["images"][0]])
    assert pooled.shape == (1, 16)  # of one model, for both


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros((8, 8, 1), np.uint8), r"has the shape \(n, H, W, c\), not \(8, 8, 1\); write \[image\]"),
        (3, r"encode takes a list of inputs .* not a int; write \[input\]"),
        ({"images": []}, "not a dict"),
        (Image.new("L", (8, 8)), r"not a Image; write \[input\] for a single one"),
    ],
)
def test_inputs_of_another_kind(model, inputs, message):
    with pytest.raises(ConfigError, match=message):
        model.encode(inputs)


@pytest.mark.parametrize(
    "item, message",
    [
        ("nowhere.png", "there is no image file nowhere.png"),
        (np.zeros((2, 8, 8, 1), np.uint8), "an image has the shape .* not .2, 8, 8, 1.; for a batch pass a list of images"),
        (np.full((8, 8), 255.0), r"a float image has values in \[0, 1\], not 255 to 255: divide by 255"),
        (np.zeros((8, 8, 2), np.uint8), "has 2 channels, but the data set is read with channels=1"),
    ],
)
def test_an_image_that_cannot_be_read(model, images, item, message):
    with pytest.raises(DataError, match=message):
        model.encode([images[0], item])


@pytest.mark.parametrize(
    ("count", "valid"), [(0, "be at least 1"), (17, "lie in 1 to 16, the width of the embeddings"), (-1, "be at least 1")]
)
def test_a_width_that_the_embeddings_do_not_have(model, images, count, valid):
    with pytest.raises(ConfigError, match=f"truncate_dim must {valid}, not {count}"):
        model.encode(images, truncate_dim=count)


def test_pieces_of_no_images(model, images):
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        model.encode(images, batch_size=0)

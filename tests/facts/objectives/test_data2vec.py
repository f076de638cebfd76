from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.norms import normalise
from jaxemb.masks.blockwise import Blockwise
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.data2vec import Data2Vec
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))
ENCODER = Transformer(stem=Patches(4), width=16, depth=2, blocks=(Block(Attention(2)),))
MODEL = Data2Vec(encoder=ENCODER, target_layers=2)
RAW = {"images": np.asarray(normal(0, 3, 16, 16, 3))}
BATCH = jax.tree.map(jnp.asarray, MODEL.prepare(RAW, Draws((0,), 3)))
HIDDEN = np.asarray(BATCH["targets"])[:, 0]


@pytest.fixture(scope="module")
def variables():
    variables = jax.jit(MODEL.init)(jax.random.key(1), BATCH)
    variables["params"]["mask_patch"] = normal(2, 4, 4, 3)
    return variables


@pytest.fixture(scope="module")
def predict():
    return partial(apply, MODEL, method="predict")


def test_targets_are_the_mean_of_normalised_layers_of_the_whole_image(variables):
    y = apply(MODEL, variables, BATCH, NOW, method="targets")
    layers = apply(ENCODER, {"params": variables["params"]["encoder"]}, BATCH["images"], layers=(0, 1)).layers
    np.testing.assert_allclose(y, (normalise(layers[0], 1e-5) + normalise(layers[1], 1e-5)) / 2, rtol=1e-4, atol=1e-5)


def test_predictions_are_of_the_image_with_the_patch_in_every_hidden_place(variables, predict):
    images = RAW["images"].copy()
    for image, places in zip(images, HIDDEN, strict=True):
        for place in places:
            row, column = 4 * (place // 4), 4 * (place % 4)
            image[row : row + 4, column : column + 4] = variables["params"]["mask_patch"]
    params = variables["params"]
    tokens = np.asarray(apply(ENCODER, {"params": params["encoder"]}, jnp.asarray(images)).tokens)
    expected = np.take_along_axis(tokens, HIDDEN[:, :, None], 1) @ params["head"]["kernel"] + params["head"]["bias"][None, None]
    np.testing.assert_allclose(predict(variables, BATCH), expected, rtol=1e-4, atol=1e-5)


def test_hidden_pixels_cannot_reach_the_prediction(variables, predict):
    g = jax.grad(lambda x: predict(variables, {**BATCH, "images": x}).sum())(BATCH["images"])
    touched = np.abs(np.asarray(g)).reshape(3, 4, 4, 4, 4, 3).max((2, 4, 5)).reshape(3, 16) > 0
    for row, places in zip(touched, HIDDEN, strict=True):
        assert set(np.flatnonzero(~row)) == set(places) and len(places) == 10  # 16 - int(.4 x 16)


def test_loss_is_the_mean_over_hidden_patches(variables, predict):
    y = 3 * apply(MODEL, variables, BATCH, NOW, method="targets")  # errors on both sides of beta
    e = np.abs(np.asarray(predict(variables, BATCH)) - np.take_along_axis(np.asarray(y), HIDDEN[:, :, None], 1))
    assert (e < 2).any() and (e > 2).any()
    loss = apply(MODEL, variables, BATCH, y, NOW, method="loss")
    assert float(loss.value) == pytest.approx(np.where(e < 2, e**2 / 4, e - 1).mean(), rel=1e-4)
    assert loss.logs.keys() == {"target_std", "target_patch_std"}


def test_default_masks():
    assert Data2Vec().masks == Blockwise(0.6) and Data2Vec().needs_average()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_layers": 3}, "target_layers=3 must be from 1 to the encoder's depth, 2"),
        ({"beta": 0.0}, "Data2Vec.beta must be above 0, is 0.0"),
        ({"encoder": Transformer(stem=Tokens(), depth=2)}, "its stem is Tokens"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)

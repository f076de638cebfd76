import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.masks.random_patches import RandomPatches
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.stem import Patches, Tokens, patchify
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.mae import MAE, standardise
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))


ENCODER = Transformer(stem=Patches(4), width=16, depth=1, blocks=(Block(Attention(2)),))
MODEL = MAE(encoder=ENCODER, decoder=Decoder(width=8, depth=1, blocks=(Block(Attention(2)),)))
RAW = {"images": np.asarray(normal(0, 3, 16, 16, 3))}


def prepared(model=MODEL, seed=0):
    return jax.tree.map(jnp.asarray, model.prepare(RAW, Draws((seed,), len(RAW["images"]))))


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(1), prepared())


def test_channels_are_the_fastest_axis_of_a_patch():
    x = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0])[None, None, None], (1, 8, 8, 3))
    np.testing.assert_array_equal(patchify(x, 4)[0, 0], np.tile([1.0, 2.0, 3.0], 16))


def test_normalised_targets():
    x = normal(0, 2, 5, 12)
    y, var = standardise(x), x.var(-1, ddof=1)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-6)
    np.testing.assert_allclose(jnp.square(y).sum(-1), 11 * var / (var + 1e-6), rtol=1e-5)
    np.testing.assert_array_equal(standardise(jnp.full((1, 12), 7.0)), 0)


def test_loss_is_the_mean_over_hidden_patches(params):
    for model in (MODEL, MODEL.clone(norm_pixels=False)):
        batch = prepared()
        p = apply(model, params, batch, method="predict")
        patches = np.asarray(patchify(batch["images"], 4))
        y = np.take_along_axis(patches, np.asarray(batch["targets"])[:, 0, :, None], 1)
        if model.norm_pixels:
            y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, ddof=1, keepdims=True) + 1e-6)
        expected = np.square(np.asarray(p) - y).mean()
        assert float(apply(model, params, batch, None, NOW, method="loss").value) == pytest.approx(expected, rel=1e-5)


def test_hidden_patches_are_never_computed(params):
    batch = prepared()
    g = jax.grad(lambda x: apply(MODEL, params, {**batch, "images": x}, method="predict").sum())(batch["images"])
    touched = np.abs(np.asarray(g)).reshape(3, 4, 4, 4, 4, 3).max((2, 4, 5)).reshape(3, 16) > 0
    for row, context in zip(touched, np.asarray(batch["context"])[:, 0], strict=True):
        assert set(np.flatnonzero(row)) == set(context)


def test_reconstruction_is_in_order(params):
    """Visible patches are those of the image; hidden ones the prediction, scaled back to the mean of the patch."""
    batch = prepared()
    shown, patches = (np.asarray(x) for x in (apply(MODEL, params, batch, method="reconstruct"), patchify(batch["images"], 4)))
    p = np.asarray(apply(MODEL, params, batch, method="predict"))
    context, hidden = (np.asarray(batch[k])[:, 0] for k in ("context", "targets"))
    for i in range(3):
        np.testing.assert_array_equal(shown[i, context[i]], patches[i, context[i]])
        y = patches[i, hidden[i]]
        expected = p[i] * np.sqrt(y.var(-1, ddof=1, keepdims=True) + 1e-6) + y.mean(-1, keepdims=True)
        np.testing.assert_allclose(shown[i, hidden[i]], expected, rtol=1e-4, atol=1e-5)


def test_a_class_token_is_seen_by_the_decoder():
    model = MODEL.clone(encoder=ENCODER.clone(class_token=True))
    batch = prepared()
    params = jax.jit(model.init)(jax.random.key(1), batch)
    moved = jax.tree.map(jnp.copy, params)
    moved["params"]["encoder"]["class_token"] *= -1
    a, b = (apply(model, v, batch, method="predict") for v in (params, moved))
    assert a.shape == (3, 12, 48) and not np.allclose(a, b)


def test_masks_hide_an_exact_share_of_every_image():
    out = RandomPatches(0.75)((14, 14), Draws((0,), 20))
    assert out["context"].shape == (20, 1, 49) and out["targets"].shape == (20, 1, 147)
    for c, t in zip(out["context"][:, 0], out["targets"][:, 0], strict=True):
        assert set(c) | set(t) == set(range(196)) and (np.diff(c) > 0).all() and (np.diff(t) > 0).all()
    assert len({tuple(row) for row in out["context"][:, 0]}) == 20
    assert RandomPatches(0.9).visible((8, 8)) == 6


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5])
def test_a_ratio_that_can_never_be_is_named(ratio):
    with pytest.raises(ConfigError, match=f"masks.ratio must be above 0 and below 1, is {ratio}"):
        RandomPatches(ratio)


def test_a_ratio_that_leaves_nothing_visible_says_which_can():
    with pytest.raises(ConfigError, match="ratio=0.9 leaves 0 of the 6 patches of a 2 x 3 grid visible.*0.001 to 0.833 can be"):
        RandomPatches(0.9).visible((2, 3))
    assert RandomPatches(0.833).visible((2, 3)) == 1 and RandomPatches(0.001).visible((2, 3)) == 5
    with pytest.raises(ConfigError, match="leaves 0 of the 1 patches of a 1 x 1 grid visible.*use smaller patches"):
        RandomPatches().visible((1, 1))


def test_an_encoder_of_tokens_is_refused():
    with pytest.raises(ConfigError, match="MAE needs an encoder of image patches, its stem is Tokens"):
        MAE(encoder=Transformer(stem=Tokens()))

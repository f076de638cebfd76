import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.norms import normalise
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.masks.multi_block import MultiBlock
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import Patches, Tokens
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.ijepa import IJEPA
from jaxemb.ops.draws import Draws
from jaxemb.types import Now

NOW = Now(0, 1, jax.random.key(0))


ENCODER = Transformer(stem=Patches(4), width=16, depth=2, blocks=(Block(Attention(2)),))
MODEL = IJEPA(encoder=ENCODER, predictor=Predictor(width=8, depth=1), masks=FixedBlocks())
RAW = {"images": np.asarray(normal(0, 3, 16, 16, 3))}


def prepared(model=MODEL, seed=0):
    return jax.tree.map(jnp.asarray, model.prepare(RAW, Draws((seed,), len(RAW["images"]))))


@pytest.fixture(scope="module")
def params():
    return jax.jit(MODEL.init)(jax.random.key(1), prepared())


def test_targets_are_normalised_features_of_the_whole_image(params):
    y = apply(MODEL, params, prepared(), NOW, method="targets")
    tokens = apply(MODEL, params, prepared(), method="features").tokens
    np.testing.assert_allclose(y, normalise(tokens, 1e-5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)


def test_targets_may_average_layers(params):
    model = MODEL.clone(target_layers=2)
    y = apply(model, params, prepared(), NOW, method="targets")
    layers = apply(ENCODER, {"params": params["params"]["encoder"]}, jnp.asarray(RAW["images"]), layers=(0, 1)).layers
    np.testing.assert_allclose(y, (normalise(layers[0], 1e-5) + normalise(layers[1], 1e-5)) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss_name", ["smooth_l1", "l2"])
def test_loss_is_the_mean_over_target_patches(params, loss_name):
    model, batch = MODEL.clone(loss_name=loss_name), prepared()
    y = apply(model, params, batch, NOW, method="targets")
    p = np.asarray(apply(model, params, batch, method="predict"))[:, 0]
    e = np.abs(p - np.take_along_axis(np.asarray(y), batch["targets"].reshape(3, -1, 1), 1).reshape(p.shape))
    each = np.where(e < 1, e**2 / 2, e - 0.5) if loss_name == "smooth_l1" else e**2
    assert float(apply(model, params, batch, y, NOW, method="loss").value) == pytest.approx(each.mean(), rel=1e-4)


def test_padding_counts_for_nothing(params):
    """Padded contexts and targets, with whatever ids, leave predictions of the others and the loss unchanged."""
    batch = prepared()
    y = apply(MODEL, params, batch, NOW, method="targets")
    plain = apply(MODEL, params, batch, y, NOW, method="loss").value
    padded = dict(batch)
    for name in ("context", "targets"):
        ids = batch[name]
        padded[name] = jnp.concatenate([ids, jnp.full((*ids.shape[:-1], 2), 7, ids.dtype)], axis=-1)
        padded[f"{name}_mask"] = jnp.concatenate([jnp.ones(ids.shape, bool), jnp.zeros((*ids.shape[:-1], 2), bool)], axis=-1)
    for model in (MODEL, MODEL.clone(joint=True)):
        unpadded = plain if model is MODEL else apply(model, params, batch, y, NOW, method="loss").value
        assert float(apply(model, params, padded, y, NOW, method="loss").value) == pytest.approx(float(unpadded), rel=1e-5)


def test_separate_sequences_do_not_see_each_others_targets(params):
    """Moving the last block changes the prediction of the first only when they share a sequence."""
    batch = prepared()
    moved = {**batch, "targets": jnp.concatenate([batch["targets"][:, :-1], (batch["targets"][:, -1:] + 1) % 16], axis=1)}
    for model, same in ((MODEL, True), (MODEL.clone(joint=True), False)):
        a, b = (apply(model, params, x, method="predict")[:, :, 0] for x in (batch, moved))
        assert np.allclose(a, b, atol=1e-6) == same


def test_several_contexts_are_averaged_over(params):
    one, two = prepared(seed=0), prepared(seed=1)
    y = apply(MODEL, params, one, NOW, method="targets")
    both = {**one, "context": jnp.concatenate([one["context"], two["context"]], axis=1)}
    separate = [float(apply(MODEL, params, {**one, "context": b["context"]}, y, NOW, method="loss").value) for b in (one, two)]
    assert float(apply(MODEL, params, both, y, NOW, method="loss").value) == pytest.approx(np.mean(separate), rel=1e-5)


def test_hidden_patches_are_never_computed():
    """Pixels that are neither context nor full-image teacher input cannot reach the prediction."""
    batch = prepared()
    params = jax.jit(MODEL.init)(jax.random.key(1), batch)
    g = jax.grad(lambda x: apply(MODEL, params, {**batch, "images": x}, method="predict").sum())(jnp.asarray(RAW["images"]))
    touched = np.abs(np.asarray(g)).reshape(3, 4, 4, 4, 4, 3).max((2, 4, 5)).reshape(3, 16) > 0
    for row, context in zip(touched, np.asarray(batch["context"])[:, 0], strict=True):
        assert set(np.flatnonzero(row)) == set(context)


def test_monitors_see_collapse(params):
    batch = {**prepared(), "images": jnp.zeros_like(RAW["images"])}
    y = apply(MODEL, params, batch, NOW, method="targets")
    logs = apply(MODEL, params, batch, y, NOW, method="loss").logs
    assert float(logs["target_std"].value) == pytest.approx(0, abs=1e-6) and float(logs["target_patch_std"].value) > 0.01


def test_half_precision_keeps_a_float32_loss():
    half = MODEL.clone(encoder=ENCODER.clone(dtype="bfloat16"))
    batch = prepared()
    params = jax.jit(half.init)(jax.random.key(1), batch)
    y = apply(half, params, batch, NOW, method="targets")
    loss = apply(half, params, batch, y, NOW, method="loss").value
    assert y.dtype == loss.dtype == jnp.float32 and bool(jnp.isfinite(loss))


def test_default_masks_are_the_papers():
    assert IJEPA().masks == MultiBlock(targets=4, scale=(0.15, 0.2), aspect=(0.75, 1.5), context_scale=(0.85, 1.0), min_keep=10)
    assert (IJEPA().loss_name, IJEPA().predictor.width, IJEPA().predictor.depth) == ("smooth_l1", 384, 12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss_name": "l3"}, "loss_name='l3'; valid: l2, smooth_l1"),
        ({"target_layers": 3}, "target_layers=3 must be from 1 to the encoder's depth, 2"),
        ({"encoder": Transformer(stem=Tokens(), depth=2)}, "its stem is Tokens"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)


def test_predictor_heads_must_divide_its_width():
    with pytest.raises(ConfigError, match="width 9 is not divisible by heads 4"):
        Predictor(width=9, depth=1)

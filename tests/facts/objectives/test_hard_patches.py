"""Unit facts of the method, and what the train step makes of the schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal, uniform
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.hard_patches import HardPatches, absolute_loss, hard_counts, hard_mask, relative_loss
from jaxemb.ops.draws import Draws
from jaxemb.train.optim import Optim
from jaxemb.train.state import create
from jaxemb.train.step import make_step
from jaxemb.types import Now

NOW = Now(0, 6, jax.random.key(0))

ENCODER = Transformer(stem=Patches(4), width=16, depth=1, blocks=(Block(Attention(2)),))
MODEL = HardPatches(encoder=ENCODER, decoder=Decoder(width=8, depth=1, blocks=(Block(Attention(2)),)), alpha=(0.0, 1.0))
BATCH = {"images": normal(0, 3, 16, 16, 3)}
RNGS = {"dropout": jax.random.key(2)}


@pytest.fixture(scope="module")
def variables():
    return jax.jit(MODEL.init)(jax.random.key(1), BATCH)


def draws(*shape, seed=0):
    return uniform(seed, *shape)


def test_how_many_are_hard():
    counts = hard_counts(147, 200, (0.0, 0.5))
    assert [counts[e] for e in (0, 2, 99, 199)] == [0, 1, 36, 73]
    assert set(hard_counts(147, 200, (1.0, 1.0))) == {147} and set(hard_counts(147, 200, (0.0, 0.0))) == {0}


def test_masks_hold_the_hardest_and_have_one_size():
    h = draws(4, 16)
    for count in (0, 5, 12):
        keep, hidden = hard_mask(h, draws(4, 16, seed=1), jnp.asarray(count, jnp.int32), 12)
        assert keep.shape == (4, 4) and hidden.shape == (4, 12)
        for k, t, row in zip(keep, hidden, h, strict=True):
            assert sorted([*map(int, k), *map(int, t)]) == list(range(16)) and (jnp.diff(t) > 0).all()
            assert set(np.argsort(-row)[:count].tolist()) <= set(map(int, t))


def test_without_hard_patches_masks_follow_the_noise_alone():
    noise = draws(4, 16, seed=1)
    for h in (draws(4, 16), jnp.zeros((4, 16))):
        _, hidden = hard_mask(h, noise, jnp.asarray(0, jnp.int32), 12)
        np.testing.assert_array_equal(hidden, np.sort(np.argsort(-noise, axis=1)[:, :12], axis=1))


def test_relative_loss():
    true = draws(2, 6)
    assert float(relative_loss(jnp.full((2, 6), 3.0), true)) == pytest.approx(np.log(2) - 2e-6, abs=1e-6)
    s = draws(2, 6, seed=1)
    value = float(relative_loss(s, true))
    assert float(relative_loss(s + 5, true)) == pytest.approx(value, rel=1e-5)
    assert float(relative_loss(s, jnp.exp(3 * true))) == pytest.approx(value, rel=1e-6)
    assert float(relative_loss(jnp.array([[1.0, 0.0]]), jnp.array([[2.0, 1.0]]))) == pytest.approx(0.3132617, abs=5e-6)


def test_ties_count_for_nothing():
    s, true = jnp.array([[1.0, 0.0, 9.0], [0.0, 0.0, 4.0]]), jnp.array([[2.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    expected = (np.log1p(np.exp(-1)) + np.log1p(np.exp(8))) / 2  # two pairs of the first image, none of the second
    assert float(relative_loss(s, true)) == pytest.approx(expected, rel=1e-3)
    g = jax.grad(relative_loss)(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    np.testing.assert_array_equal(g, 0)


def test_absolute_loss_is_zero_for_standardised_losses():
    true = draws(2, 6)
    s = (true - true.mean(1, keepdims=True)) / true.std(1, ddof=1, keepdims=True)
    assert float(absolute_loss(s, true)) == pytest.approx(0, abs=1e-8)
    assert float(absolute_loss(jnp.zeros((2, 6)), true)) == pytest.approx(5 / 6, rel=1e-4)


def test_the_loss_is_the_sum_of_its_parts(variables):
    h = apply(MODEL, variables, BATCH, NOW, method="targets")
    assert h.shape == (3, 16)
    for model in (MODEL, MODEL.clone(weight=0.5), MODEL.clone(learn="absolute")):
        out = apply(model, variables, BATCH, h, NOW, method="loss", rngs=RNGS)
        expected = float(out.logs["reconstruction"]) + model.weight * float(out.logs["prediction"])
        assert float(out.value) == pytest.approx(expected, rel=1e-6)


def test_the_predictor_trains_the_encoder_but_not_the_pixels(variables):
    """No gradient of its loss reaches the branch of the pixels, whose errors it ranks."""
    h = apply(MODEL, variables, BATCH, NOW, method="targets")

    def prediction(params):
        return apply(MODEL, {**variables, "params": params}, BATCH, h, NOW, method="loss", rngs=RNGS).logs["prediction"]

    g = jax.grad(prediction)(variables["params"])
    largest = {k: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(v)) for k, v in g["decoder"].items()}
    assert largest["pixels"] == 0 and largest["difficulty"] > 0 and largest["mask_token"] > 0
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(g["encoder"])) > 0


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_share_of_hard_patches_rises_with_the_updates_of_the_experiment(accumulate):
    batch = {"images": BATCH["images"][:2]}
    optim = Optim("sgd", lr=0.0)
    state = jax.jit(lambda b: create(MODEL, optim.make(6), b, seed=0, ema=True))(batch)
    assert not state.stats
    step = jax.jit(make_step(MODEL, optim, steps=6, ema=(0.9, 1.0), accumulate=accumulate))
    shares = []
    for _ in range(6):
        state, metrics = step(state, batch)
        shares.append(float(metrics["hard_share"]))
    np.testing.assert_allclose(shares, [2 / 12, 4 / 12, 6 / 12, 8 / 12, 10 / 12, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learn": "both"}, "learn='both'; valid: absolute, relative"),
        ({"alpha": (0.0, 1.5)}, r"alpha must be two shares in \[0, 1\]"),
        ({"alpha": (0.5, 0.0)}, "that do not fall"),
        ({"weight": -1.0}, "weight must not be negative, is -1.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        MODEL.clone(**fields)


def test_a_grid_too_small_for_the_ratio_is_named():
    with pytest.raises(ConfigError, match="masks.ratio=0.75 leaves 0 of the 1 patches"):
        MODEL.prepare({"images": np.zeros((2, 4, 4, 3), np.float32)}, Draws((0,), 2))

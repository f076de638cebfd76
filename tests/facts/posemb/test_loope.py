import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import uniform
from compiled import apply, init

from jaxemb.config import ConfigError
from jaxemb.nn.stem import patch_positions
from jaxemb.ops.allow import Allow
from jaxemb.ops.curves import order
from jaxemb.posemb.base import Places
from jaxemb.posemb.loope import LOOPE
from jaxemb.posemb.sincos import sincos

GRID, D = (3, 4), 8
ALL = Allow()
CELLS = jnp.arange(12)
POS = patch_positions(CELLS[None], 4)
INDEX = jnp.asarray(order("gilbert", *GRID), jnp.float32).reshape(1, 12)
PICTURE = uniform(5, 2, 6, 8, 3)


def both(module, pos, picture, train=False, allow=ALL):
    places = Places(pos, grid=GRID, picture=picture, allow=allow, rows=2, train=train)
    where = module.locate(places)
    return where, module.add(jnp.zeros((2, pos.shape[1], D)), places.at(where))


def start(module):
    return init(module, jax.random.key(0), POS, PICTURE, method=both)


def stronger(variables):
    """With a last layer that matters: offsets far from 0."""
    params = variables["params"]
    linear = {"kernel": 200 * params["context"]["linear"]["kernel"], "bias": params["context"]["linear"]["bias"]}
    return {**variables, "params": {**params, "context": {**params["context"], "linear": linear}}}


def test_parameters_are_the_cards():
    p = start(LOOPE())["params"]["context"]
    shapes = jax.tree.map(jnp.shape, p)
    kernels = {name: shapes[name]["kernel"] for name in shapes if name != "norm"}
    assert kernels == {
        "conv1": (2, 2, 5, 32),
        "conv2": (5, 5, 32, 16),
        "conv3": (5, 5, 16, 8),
        "conv4": (5, 5, 8, 4),
        "conv5": (5, 5, 4, 1),
        "linear": (12, 12),
    }
    assert shapes["norm"] == {"scale": (1,), "bias": (1,)}
    assert float(p["linear"]["kernel"].std()) == pytest.approx(0.01, rel=0.2)


def test_starts_near_the_curve_and_stays_within_one_of_it():
    variables = start(LOOPE())
    where, _ = apply(LOOPE(), variables, POS, PICTURE, method=both)
    assert where.shape == (2, 12, 1) and float(jnp.abs(where[..., 0] - INDEX).max()) < 0.1
    where, _ = apply(LOOPE(), stronger(variables), POS, PICTURE * 5, method=both)
    away = jnp.abs(where[..., 0] - INDEX)
    assert 0.1 < float(away.max()) < 1


def test_without_an_offset_it_is_the_curve():
    variables = start(LOOPE())
    zero = jax.tree.map(jnp.zeros_like, variables)
    where, added = apply(LOOPE(), zero, POS, PICTURE, method=both)
    np.testing.assert_array_equal(where[..., 0], jnp.broadcast_to(INDEX, (2, 12)))
    np.testing.assert_allclose(added[0], sincos(INDEX[0, :, None], D), rtol=1e-6)
    np.testing.assert_allclose((added**2).sum(-1), D / 2, rtol=1e-5)


def test_offsets_follow_the_picture_and_any_subset_of_its_patches():
    variables = stronger(start(LOOPE()))
    where, _ = apply(LOOPE(), variables, POS, PICTURE, method=both)
    assert float(jnp.abs(where[0] - where[1]).max()) > 1e-3
    keep = jnp.array([[5, 0, 11], [2, 7, 1]])
    part, _ = apply(LOOPE(), variables, patch_positions(keep, 4), PICTURE, method=both)
    np.testing.assert_allclose(part, jnp.take_along_axis(where, keep[..., None], axis=1), rtol=1e-6)


def test_the_task_reaches_the_offsets():
    variables = start(LOOPE())

    def loss(params):
        return (apply(LOOPE(), {**variables, "params": params}, POS, PICTURE, method=both)[1] ** 3).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])["context"]
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient["linear"]) + jax.tree.leaves(gradient["conv1"]))


def test_a_constant_picture_gives_all_examples_the_same_offsets():
    module = LOOPE(picture="constant")
    variables = stronger(start(module))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, start(LOOPE()))
    where, _ = apply(module, variables, POS, PICTURE, method=both)
    assert where.shape == (1, 12, 1)
    np.testing.assert_array_equal(where, apply(module, variables, POS, 1 - PICTURE, method=both)[0])
    assert float(jnp.abs(where[..., 0] - INDEX).max()) > 1e-3  # offsets there are


def test_the_token_control_moves_no_position():
    module = LOOPE(offset="token")
    variables = stronger(start(module))
    direction = variables["params"]["direction"]
    where, added = apply(module, variables, POS, PICTURE, method=both)
    np.testing.assert_array_equal(where[..., 0], jnp.broadcast_to(INDEX, (2, 12)))
    expected = sincos(where[..., :1], D) + where[..., 1:] * direction[None, None]
    np.testing.assert_allclose(added, expected, rtol=1e-5, atol=1e-6)
    shifted, _ = apply(LOOPE(), variables, POS, PICTURE, method=both)  # the same network
    np.testing.assert_allclose(where[..., 1], shifted[..., 0] - INDEX, atol=1e-5)


@pytest.mark.parametrize(("coordinates", "last"), [("unit", [1.0, 1.0]), ("raw", [5.0, 7.0])])
def test_coordinate_planes_come_first(coordinates, last):
    x = LOOPE(coordinates=coordinates)._with_coordinates(PICTURE)
    np.testing.assert_array_equal(x[0, -1, -1, :2], last)
    np.testing.assert_array_equal(x[1, 0, -1, :2], [0, last[1]])
    np.testing.assert_array_equal(x[..., 2:], PICTURE)


def test_training_uses_and_averages_the_statistics_of_the_batch():
    variables = start(LOOPE())
    assert set(variables) == {"params", "batch_stats"}
    _, new = apply(LOOPE(), variables, POS, PICTURE, train=True, method=both, mutable=["batch_stats"])
    before, after = (v["batch_stats"]["context"]["norm"] for v in (variables, new))
    assert before["var"] == 1 and 0.89 < float(after["var"][0]) < 1  # .9 of before, .1 of the batch's small variance


def test_outside_the_grid_is_nan():
    where, _ = apply(LOOPE(), start(LOOPE()), jnp.array([[[3, 0], [0, 4], [0, -1], [2, 3]]]), PICTURE, method=both)
    np.testing.assert_array_equal(jnp.isnan(where[0, :, 0]), [True, True, True, False])


def test_what_it_needs_is_named():
    variables = start(LOOPE())
    with pytest.raises(ConfigError, match="LOOPE reads the picture"):
        apply(LOOPE(), variables, POS, None, method=both)
    with pytest.raises(ConfigError, match="whole row and column, not positions of 2 numbers of float32"):
        apply(LOOPE(), variables, POS.astype(jnp.float32), PICTURE, method=both)
    with pytest.raises(ConfigError, match="a picture of 6 x 7 is not whole patches on a 3 x 4 grid"):
        apply(LOOPE(), variables, POS, PICTURE[:, :, :7], method=both)
    with pytest.raises(ConfigError, match="LOOPE cannot do causal attention: its network sees the whole picture"):
        apply(LOOPE(), variables, POS, PICTURE, allow=Allow(causal=True), method=both)
    with pytest.raises(ConfigError, match=r"LOOPE cannot do texts packed into one row \(segments\)"):
        apply(LOOPE(), variables, POS, PICTURE, allow=Allow(segments=jnp.zeros((2, 12), jnp.int32)), method=both)
    with pytest.raises(ConfigError, match="LOOPE.coordinates='polar'; valid: raw, unit"):
        LOOPE(coordinates="polar")

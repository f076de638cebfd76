import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.stem import patch_positions
from jaxemb.ops.curves import ORDERS, order
from jaxemb.posemb.alibi import ALiBi
from jaxemb.posemb.base import Places
from jaxemb.posemb.conditional import Conditional
from jaxemb.posemb.curve import Curve
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.sincos import sincos

POS = patch_positions(jnp.arange(16)[None], 4)
AT = Places(POS, grid=(4, 4))


@pytest.mark.parametrize("name", ORDERS)
def test_a_cell_becomes_its_place_on_the_curve(name):
    """A pitfall: cell -> visit, not the inverse."""
    index = Curve(order=name).apply({}, Places(POS, grid=(4, 4)), method="locate")
    assert index.shape == (1, 16, 1)
    np.testing.assert_array_equal(index.reshape(4, 4), order(name, 4, 4))


def test_some_cells_by_hand():
    at = jnp.array([[[1, 0], [1, 3], [0, 3]]])
    assert Curve(order="snake").apply({}, Places(at, grid=(4, 4)), method="locate").reshape(-1).tolist() == [7, 4, 3]
    assert Curve(order="raster").apply({}, Places(at, grid=(4, 4)), method="locate").reshape(-1).tolist() == [4, 7, 3]


def test_tokens_get_the_waves_of_the_index():
    def run(module, x):
        return module.add(x, AT.at(module.locate(AT)))

    out = Curve().apply({}, jnp.zeros((1, 16, 8)), method=run)
    np.testing.assert_allclose(out[0], sincos(jnp.asarray(order("gilbert", 4, 4)).reshape(-1, 1), 8), rtol=1e-6)


def test_other_hooks_are_those_of_what_it_wraps():
    def run(module):
        shared = module.prepare(AT.at(module.locate(AT)), heads=2, width=4)
        return module.rotate(q, q, shared)[0], shared.bias

    q = normal(0, 1, 16, 2, 4)
    index = Places(jnp.asarray(order("gilbert", 4, 4)).reshape(1, 16, 1))
    turned, _ = Curve(of=Rotary()).apply({}, method=run)
    np.testing.assert_array_equal(turned, Rotary().rotate(q, q, Rotary().prepare(index, heads=2, width=4))[0])
    _, bias = Curve(of=ALiBi()).apply({}, method=run)
    np.testing.assert_array_equal(bias, ALiBi().bias(index, index, 2))


def test_what_it_wraps_knows_a_line_of_all_cells(key):
    def run(module, x):
        return module.add(x, AT.at(module.locate(AT)))

    x = jnp.zeros((1, 16, 4))
    params = Curve(of=Learned(shape=(16,))).init(key, x, method=run)
    assert params["params"]["table"].shape == (16, 4)  # under the names of what it wraps
    with pytest.raises(ConfigError, match="no rows for an input of 16 positions"):
        Curve(of=Learned(shape=(15,))).init(key, x, method=run)

    def after(module, x):
        return module.after_block(x, 0, AT.at(module.locate(AT)))

    assert Curve(of=Conditional()).init(key, x, method=after)["params"]["conv_0"]["kernel"].shape == (3, 1, 4)


def test_outside_the_grid_the_index_is_minus_one():
    outside = jnp.array([[[4, 0], [0, 4], [-1, 2], [3, 3]]])
    index = Curve(order="raster").apply({}, Places(outside, grid=(4, 4)), method="locate").reshape(-1)
    assert index.tolist() == [-1, -1, -1, 15]


def test_a_shape_of_its_own_serves_inputs_without_a_grid_and_smaller_ones():
    module = Curve(shape=(4, 4))
    for grid in (None, (2, 4)):
        index = module.apply({}, Places(POS, grid=grid), method="locate")
        np.testing.assert_array_equal(index.reshape(4, 4), order("gilbert", 4, 4))
    with pytest.raises(ConfigError, match=r"Curve.shape=\(4, 4\) has no index for an input of 5 x 4 cells"):
        module.apply({}, Places(POS, grid=(5, 4)), method="locate")


def test_what_it_needs_is_named():
    with pytest.raises(ConfigError, match="set Curve.shape"):
        Curve().apply({}, Places(POS), method="locate")
    with pytest.raises(ConfigError, match="whole row and column, not 2 numbers of float32"):
        Curve().apply({}, Places(POS.astype(jnp.float32), grid=(4, 4)), method="locate")
    with pytest.raises(ConfigError, match="on a grid of 1 axes"):
        Curve().apply({}, Places(POS[..., :1], grid=(16,)), method="locate")
    with pytest.raises(ConfigError, match="Curve.order='gilbret'; did you mean 'gilbert'"):
        Curve(order="gilbret")

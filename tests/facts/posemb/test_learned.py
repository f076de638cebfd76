import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.posemb.learned import Learned


def test_adds_the_row_of_the_cell():
    table = jnp.arange(12.0)[:, None] * jnp.ones((1, 4))
    pos = jnp.array([[[0, 0], [0, 3], [2, 1]]])  # cells of a 3 x 4 grid, row by row
    out = Learned(shape=(3, 4)).apply({"params": {"table": table}}, jnp.zeros((1, 3, 4)), pos, method="add")
    np.testing.assert_array_equal(out[0, :, 0], [0, 3, 9])


def test_shape_and_spread_of_the_table(key):
    params = Learned(shape=(20, 20)).init(key, jnp.zeros((1, 1, 64)), jnp.zeros((1, 1, 2), jnp.int32), method="add")["params"]
    assert params["table"].shape == (400, 64)
    assert float(params["table"].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("outside", [[[3, 0]], [[0, 4]], [[-1, 0]]])
def test_positions_outside_are_nan_not_the_last_row(outside):
    params = {"params": {"table": jnp.ones((12, 4))}}
    pos = jnp.array([[[0, 0], *outside]])
    out = Learned(shape=(3, 4)).apply(params, jnp.zeros((1, 2, 4)), pos, method="add")
    assert jnp.isfinite(out[0, 0]).all() and jnp.isnan(out[0, 1]).all()


def test_only_rows_in_use_get_a_gradient():
    def total(table):
        pos = jnp.array([[[0], [2]]])
        return Learned(shape=(4,)).apply({"params": {"table": table}}, jnp.zeros((1, 2, 3)), pos, method="add").sum()

    np.testing.assert_array_equal(jax.grad(total)(jnp.zeros((4, 3)))[:, 0], [1, 0, 1, 0])


def test_wrong_positions_are_named():
    x = jnp.zeros((1, 2, 4))
    with pytest.raises(ConfigError, match=r"Learned\(shape=\(3, 4\)\) was given positions of 1 numbers"):
        Learned(shape=(3, 4)).apply({"params": {"table": jnp.ones((12, 4))}}, x, jnp.zeros((1, 2, 1), jnp.int32), method="add")
    with pytest.raises(ConfigError, match="whole positions"):
        Learned(shape=(3,)).apply({"params": {"table": jnp.ones((3, 4))}}, x, jnp.zeros((1, 2, 1)), method="add")

import jax.numpy as jnp
import numpy as np

from jaxemb.ops.ema import ema_update

OLD, NEW = {"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([3.0, 6.0])}


def test_one_keeps_zero_copies_a_quarter_moves_three_quarters():
    np.testing.assert_array_equal(ema_update(OLD, NEW, 1.0)["a"], OLD["a"])
    np.testing.assert_array_equal(ema_update(OLD, NEW, 0.0)["a"], NEW["a"])
    np.testing.assert_array_equal(ema_update(OLD, NEW, 0.25)["a"], [2.5, 5.0])


def test_keeps_the_dtype_of_the_average():
    assert ema_update(OLD, {"a": NEW["a"].astype(jnp.bfloat16)}, 0.5)["a"].dtype == jnp.float32

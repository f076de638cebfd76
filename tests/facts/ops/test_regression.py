import jax.numpy as jnp
import numpy as np

from jaxemb.ops.regression import smooth_l1, squared

E = jnp.array([0.0, 0.5, -1.0, 2.0, -3.0])


def test_smooth_l1_by_hand():
    np.testing.assert_allclose(smooth_l1(E, 0 * E), [0, 0.125, 0.5, 1.5, 2.5])
    np.testing.assert_allclose(smooth_l1(E, 0 * E, beta=2.0), [0, 0.0625, 0.25, 1.0, 2.0])


def test_squared_by_hand():
    np.testing.assert_allclose(squared(E, 0 * E), [0, 0.25, 1, 4, 9])

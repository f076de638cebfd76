import jax.numpy as jnp
import numpy as np

from jaxemb.pooling.max import Max
from jaxemb.types import Features

TOKENS = jnp.array([[[1.0, -2.0], [-3.0, -1.0], [9.0, 9.0]]])


def test_feature_by_feature_over_what_counts():
    np.testing.assert_array_equal(Max().apply({}, Features(TOKENS, jnp.array([[True, True, False]]))), [[1.0, -1.0]])


def test_nothing_counts():
    np.testing.assert_array_equal(Max().apply({}, Features(TOKENS, jnp.zeros((1, 3), bool))), [[-np.inf, -np.inf]])

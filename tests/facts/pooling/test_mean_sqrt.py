import jax.numpy as jnp
import numpy as np

from jaxemb.pooling.mean_sqrt import MeanSqrt
from jaxemb.types import Features

TOKENS = jnp.array([[[1.0, 2.0], [3.0, 4.0], [2.0, 2.0], [2.0, 0.0], [99.0, 99.0]]])


def test_sum_over_the_root_of_the_number():
    np.testing.assert_array_equal(MeanSqrt().apply({}, Features(TOKENS, jnp.arange(5)[None] < 4)), [[4.0, 4.0]])


def test_nothing_counts():
    np.testing.assert_array_equal(MeanSqrt().apply({}, Features(TOKENS, jnp.zeros((1, 5), bool))), [[0.0, 0.0]])

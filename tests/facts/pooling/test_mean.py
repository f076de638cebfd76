import jax.numpy as jnp
import numpy as np

from jaxemb.pooling.mean import Mean
from jaxemb.types import Features


def test_averages_valid_tokens_alone():
    tokens = jnp.array([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]]])
    f = Features(tokens, jnp.array([[True, True, False]]), prefix=jnp.full((1, 1, 2), 50.0))
    np.testing.assert_array_equal(Mean().apply({}, f), [[2.0, 4.0]])


def test_all_padding_is_zero():
    np.testing.assert_array_equal(Mean().apply({}, Features(jnp.ones((1, 2, 3)), jnp.zeros((1, 2), bool))), np.zeros((1, 3)))

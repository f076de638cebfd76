"""BERT's pooling: tanh of a linear map of one token."""

import jax.numpy as jnp
import numpy as np

from jaxemb.pooling.pooler import Pooler
from jaxemb.types import Features

PARAMS = {"params": {"dense": {"kernel": jnp.array([[1.0, 0.0], [2.0, -1.0]]), "bias": jnp.array([0.5, 0.0])}}}
TOKENS = jnp.array([[[9.0, 9.0], [1.0, 2.0], [3.0, 6.0]]])


def test_reads_the_first_token_that_is_no_padding():
    z = Pooler().apply(PARAMS, Features(TOKENS, jnp.array([[False, True, True]])))
    np.testing.assert_allclose(z, np.tanh([[5.5, -2.0]]), rtol=1e-6)


def test_reads_the_class_token_of_an_encoder_that_has_one():
    z = Pooler().apply(PARAMS, Features(TOKENS, jnp.ones((1, 3), bool), prefix=jnp.array([[[0.1, 0.2], [7.0, 7.0]]])))
    np.testing.assert_allclose(z, np.tanh([[1.0, -0.2]]), rtol=1e-6)

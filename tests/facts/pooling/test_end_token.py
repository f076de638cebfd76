import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.pooling.end_token import EndToken
from jaxemb.types import Features

TOKENS = normal(0, 3, 4, 2)
IDS = jnp.array([[7, 9, 3, 9], [9, 5, 6, 8], [1, 2, 4, 9]])
MASK = jnp.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0]], bool)


def test_the_first_token_of_that_id_or_of_the_highest_one():
    f = Features(TOKENS, MASK, ids=IDS)
    np.testing.assert_array_equal(
        EndToken(6).apply({}, f), TOKENS[jnp.arange(3), jnp.array([0, 2, 0])]
    )  # else the first that counts
    np.testing.assert_array_equal(EndToken(8).apply({}, f), TOKENS[jnp.arange(3), jnp.array([0, 3, 0])])
    np.testing.assert_array_equal(
        EndToken().apply({}, f), TOKENS[jnp.arange(3), jnp.array([1, 3, 2])]
    )  # 9 of padding does not count


def test_without_it_the_first_that_counts():
    f = Features(TOKENS, MASK, ids=IDS)
    np.testing.assert_array_equal(EndToken(77).apply({}, f)[1], TOKENS[1, 1])


def test_it_needs_ids():
    with pytest.raises(ConfigError, match="EndToken looks for a token id, and the encoder's inputs are no ids"):
        EndToken().apply({}, Features(TOKENS, MASK))

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.pooling.token import Token
from jaxemb.types import Features

TOKENS = jnp.arange(12.0).reshape(1, 4, 3)


def test_class_token_is_the_first_of_the_prefix():
    f = Features(TOKENS, jnp.ones((1, 4), bool), prefix=jnp.stack([jnp.full((1, 3), 7.0), jnp.full((1, 3), 8.0)], axis=1))
    np.testing.assert_array_equal(Token().apply({}, f), [[7, 7, 7]])


def test_last_is_the_last_valid_one():
    f = Features(TOKENS, jnp.array([[True, True, False, False]]))
    np.testing.assert_array_equal(Token(last=True).apply({}, f), [[3, 4, 5]])
    np.testing.assert_array_equal(Token(last=True).apply({}, Features(TOKENS, jnp.ones((1, 4), bool))), [[9, 10, 11]])


def test_without_a_class_token_it_says_so():
    with pytest.raises(ConfigError, match="class_token=True"):
        Token().apply({}, Features(TOKENS, jnp.ones((1, 4), bool)))


def test_last_of_nothing_is_zero():
    np.testing.assert_array_equal(Token(last=True).apply({}, Features(TOKENS, jnp.zeros((1, 4), bool))), [[0, 0, 0]])

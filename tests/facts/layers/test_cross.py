import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.layers.cross import CrossBlock


def test_a_memory_for_all_rows_is_the_same_as_one_for_each(key):
    x, memory = normal(0, 2, 3, 4), normal(1, 1, 2, 4)
    y, params = CrossBlock(2).init_with_output(key, x, memory)
    np.testing.assert_allclose(CrossBlock(2).apply(params, x, jnp.repeat(memory, 2, axis=0)), y, rtol=1e-5, atol=1e-6)


def test_wrong_heads_are_named(key):
    with pytest.raises(ConfigError, match="heads=3 does not divide the width 4"):
        CrossBlock(3).init(key, normal(0, 1, 3, 4), normal(1, 1, 2, 4))
    with pytest.raises(ConfigError, match=r"CrossBlock\.heads=0"):
        CrossBlock(0)

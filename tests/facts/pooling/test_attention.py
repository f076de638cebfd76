import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.pooling.attention import AttentionPool
from jaxemb.types import Features


def test_equal_tokens_give_the_same_as_one(key):
    one = Features(jnp.ones((1, 1, 8)), jnp.ones((1, 1), bool))
    many = Features(jnp.ones((1, 5, 8)), jnp.ones((1, 5), bool))
    pool = AttentionPool(heads=2)
    params = pool.init(key, one)
    np.testing.assert_allclose(pool.apply(params, one), pool.apply(params, many), rtol=1e-5, atol=1e-6)


def test_reads_the_prefix(key):
    f = Features(jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool), prefix=normal(0, 1, 1, 8))
    pool = AttentionPool(heads=2)
    params = pool.init(key, f)
    assert not np.allclose(pool.apply(params, f), pool.apply(params, f._replace(prefix=None)))


def test_heads_must_divide_the_width(key):
    with pytest.raises(ConfigError, match=r"heads=3.* width 8"):
        AttentionPool(heads=3).init(key, Features(jnp.ones((1, 2, 8)), jnp.ones((1, 2), bool)))

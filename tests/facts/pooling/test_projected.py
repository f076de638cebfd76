import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.layers.norms import LayerNorm, normalise
from jaxemb.pooling.concat import Concat
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.projected import Projected
from jaxemb.pooling.trainable import MultiLayer
from jaxemb.types import Features

F = Features(normal(0, 2, 3, 4), jnp.ones((2, 3), bool))


def test_norm_then_a_linear_layer():
    kernel, bias = normal(1, 4, 5), normal(2, 5)
    params = {"norm": {"scale": jnp.full(4, 2.0), "bias": jnp.full(4, 0.5)}, "proj": {"kernel": kernel, "bias": bias}}
    z = Projected(Mean(), LayerNorm(1e-5), 5, bias=True).apply({"params": params}, F)
    expected = (normalise(F.tokens.mean(1), 1e-5) * 2 + 0.5) @ kernel + bias[None]
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-5)


def test_without_both_it_is_the_pooling():
    np.testing.assert_array_equal(Projected(Mean()).apply({}, F), Mean().apply({}, F))
    assert Projected(MultiLayer()).wants(3) == MultiLayer().wants(3) and Projected(Concat()).wants(3) == ()


def test_features_are_counted():
    with pytest.raises(ConfigError, match="Projected.features"):
        Projected(features=0)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.mlp import MLP

X = normal(0, 6, 2, 2, 1)


def test_by_hand():
    model = MLP((3, 2), activation="tanh")
    params = model.init(jax.random.key(1), X)
    found = model.apply(params, X)
    first, second = params["params"]["stem"], params["params"]["layer1"]
    hidden = jnp.tanh(X.reshape(6, 4) @ first["kernel"] + first["bias"][None])
    np.testing.assert_allclose(found.tokens[:, 0], jnp.tanh(hidden @ second["kernel"] + second["bias"][None]), rtol=1e-5, atol=1e-6)
    assert found.mask.shape == (6, 1) and bool(found.mask.all())


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match=r"MLP\.widths must be numbers of at least 1"):
        MLP(())
    with pytest.raises(ConfigError, match=r"MLP\.activation='rele'; did you mean 'relu'"):
        MLP(activation="rele")
    with pytest.raises(ConfigError, match=r"MLP\.kernel_init='ones'"):
        MLP(kernel_init="ones")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.nn.cnn import CNN

X = normal(0, 6, 8, 8, 1)


def test_by_hand():
    model = CNN((3, 2), (5, 3))
    params = model.init(jax.random.key(1), X)
    x = X
    for name, width, size in (("stem", 3, 5), ("layer1", 2, 3)):
        x = nn.relu(nn.Conv(width, (size, size)).apply({"params": params["params"][name]}, x))
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))
    found = model.apply(params, X)
    np.testing.assert_allclose(found.tokens, x.reshape(6, 1, 8), rtol=1e-5, atol=1e-6)
    assert found.mask.shape == (6, 1) and bool(found.mask.all())


def test_bad_fields_are_named():
    for fields, message in (
        ({"widths": ()}, r"CNN\.widths must be numbers of at least 1"),
        ({"sizes": (3,)}, r"CNN\.sizes=\(3,\) must be numbers of at least 1, one for each of widths=\(32, 32\)"),
        ({"activation": "rele"}, r"CNN\.activation='rele'; did you mean 'relu'"),
        ({"kernel_init": "ones"}, r"CNN\.kernel_init='ones'"),
    ):
        with pytest.raises(ConfigError, match=message):
            CNN(**fields)
    with pytest.raises(ConfigError, match="2 layers halve an image of 3 x 3 to nothing"):
        CNN().init(jax.random.key(0), jnp.zeros((1, 3, 3, 1)))

import jax
import numpy as np
import pytest
from arrays import normal
from flax import linen as nn

from jaxemb.layers.conv import Conv

X = normal(0, 3, 9, 7, 2)


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, "SAME"), (5, 2, "SAME"), (3, 2, 1), (4, 4, "VALID")])
def test_it_is_the_convolution_of_linen(size, stride, padding):
    conv = Conv(4, size, stride, padding)
    params = conv.init(jax.random.key(1), X)
    plain = nn.Conv(4, (size, size), strides=stride, padding=padding)
    np.testing.assert_allclose(conv.apply(params, X), plain.apply(params, X), rtol=1e-5, atol=1e-5)

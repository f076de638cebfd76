"""What comes after a pooling, by hand."""

import numpy as np
import pytest
from compiled import apply

from jaxemb.config import ConfigError
from jaxemb.layers.heads import DenseHead, Unit

Z = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
KERNEL, BIAS = np.array([[1.0], [2.0]], np.float32), np.array([0.5], np.float32)


@pytest.mark.parametrize(
    "activation, f",
    [
        ("tanh", np.tanh),
        (None, lambda x: x),
        ("relu", lambda x: np.maximum(x, 0)),
        ("mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ],
    ids=["tanh", "none", "relu", "mish"],
)
def test_dense(activation, f):
    got = apply(DenseHead(1, activation=activation), {"params": {"dense": {"kernel": KERNEL, "bias": BIAS}}}, Z)
    np.testing.assert_allclose(got, f(Z @ KERNEL + BIAS), rtol=1e-6)
    bare = apply(DenseHead(1, bias=False, activation=activation), {"params": {"dense": {"kernel": KERNEL}}}, Z)
    np.testing.assert_allclose(bare, f(Z @ KERNEL), rtol=1e-6)


def test_unit():
    np.testing.assert_allclose(apply(Unit(), {}, Z), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_refused():
    with pytest.raises(ConfigError, match="DenseHead.activation='tan'; did you mean 'tanh'"):
        DenseHead(1, activation="tan")

"""Dropout by half words: the share, the scale, and no number that is drawn twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import full
from flax import linen as nn

from jaxemb.layers.feedforward import dropped


class Layer(nn.Module):
    rate: float
    train: bool = True

    @nn.compact
    def __call__(self, x):
        return dropped(x, self.rate, self.train)


def applied(rate, x, seed=0, train=True):
    return np.asarray(Layer(rate, train).apply({}, x, rngs={"dropout": jax.random.key(seed)}))


def test_a_share_of_the_features_is_zero_and_the_rest_keeps_the_mean():
    y = applied(0.3, full(2.0, 300, 101))  # an odd number of features
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 0.01 and y[kept] == pytest.approx(2 / 0.7, rel=1e-4)
    assert abs(np.corrcoef(kept[:, :50].reshape(-1), kept[:, 51:].reshape(-1))[0, 1]) < 0.02, "the halves of a word are others"
    assert not np.array_equal(y, applied(0.3, full(2.0, 300, 101), seed=1))


def test_nothing_is_drawn_where_nothing_is_dropped():
    x = full(2.0, 3, 4)
    assert np.array_equal(Layer(0.0).apply({}, x), x) and np.array_equal(applied(0.5, x, train=False), x)
    assert np.isfinite(applied(1 - 1e-9, x)).all()


def test_it_computes_in_the_dtype_of_its_input():
    y = Layer(0.5).apply({}, jnp.ones((4, 6), jnp.bfloat16), rngs={"dropout": jax.random.key(0)})
    assert y.dtype == jnp.bfloat16 and set(np.unique(np.asarray(y, np.float32))) == {0, 2}

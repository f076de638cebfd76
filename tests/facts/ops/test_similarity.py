import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.similarity import unit


@pytest.mark.parametrize("xp", [np, jnp])
def test_rows_have_length_one_and_zeros_stay(xp):
    x = xp.asarray([[3.0, 4.0], [0.0, 0.0], [-1e-20, 0.0]], dtype="float32")
    got = unit(x)
    assert type(got) is type(x) and got.dtype == x.dtype
    np.testing.assert_allclose(got, [[0.6, 0.8], [0, 0], [-1e-8, 0]], rtol=1e-6)
    np.testing.assert_allclose(unit(x[:1].T, axis=0), [[0.6], [0.8]], rtol=1e-6)


def test_the_gradient_at_zero_is_finite():
    g = jax.grad(lambda x: unit(x).sum())(jnp.zeros((1, 3)))
    assert np.isfinite(np.asarray(g)).all()


def test_bfloat16_keeps_its_type(key):
    x = jax.random.normal(key, (4, 8), jnp.bfloat16)
    assert unit(x).dtype == jnp.bfloat16
    np.testing.assert_allclose((unit(x) ** 2).sum(-1), 1, atol=0.03)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.contrastive.distance import DISTANCES, distances, root

A = normal(0, 3, 4)


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_and_zero_rows_have_a_finite_gradient(kind):
    a = A.at[2].set(0)
    d, grad = jax.jit(jax.value_and_grad(lambda x: distances(kind, x, a).sum()))(a)
    assert np.isfinite(d) and np.isfinite(grad).all()
    if kind != "cosine":
        np.testing.assert_array_equal(np.diagonal(distances(kind, a, a)), 0)


def test_distances_by_hand():
    a, b = np.asarray(A), np.asarray(normal(1, 2, 4))
    apart = a[:, None] - b[None]
    np.testing.assert_allclose(distances("euclidean", A, jnp.asarray(b)), np.sqrt((apart**2).sum(-1)), rtol=1e-5)
    np.testing.assert_allclose(distances("manhattan", A, jnp.asarray(b)), np.abs(apart).sum(-1), rtol=1e-5)


def test_the_root_has_no_slope_at_zero():
    value, slope = jax.jit(jax.value_and_grad(root))(0.0)
    assert value == slope == 0 and float(jax.jit(jax.grad(root))(4.0)) == 0.25

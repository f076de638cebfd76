"""Products with a fast gradient: the numbers of the plain product in every mode, and the form that is fast."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.product import product

X = jax.random.normal(jax.random.key(0), (6, 4))
OUTPUTS = (3, 4, 7)  # of a matrix of 4 inputs: narrower, equal, wider


def weights(outputs):
    return jax.random.normal(jax.random.key(1), (4, outputs))


def bent(multiply):
    """Not linear, so that second derivatives say something."""
    return lambda x, w: jnp.sin(multiply(x, w)).sum()


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_every_derivative_is_that_of_the_plain_product(outputs):
    def derivatives(multiply):
        f = bent(multiply)

        def all_of(x, w):
            forward = jax.jvp(f, (x, w), (jnp.cos(x), jnp.cos(w)))
            rows = jax.vmap(jax.grad(f, 1), (0, None))(jnp.stack([x, -x]), w)
            return forward, jax.grad(f, (0, 1))(x, w), jax.hessian(f, 1)(x, w), rows, jax.grad(jax.checkpoint(f), 1)(x, w)

        return jax.jit(all_of)(X, weights(outputs))

    ours, plain = derivatives(product), derivatives(jnp.matmul)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_the_gradient_of_a_matrix_is_a_product_whose_first_array_is_the_narrower(outputs):
    """On CPU. When this fails for the plain product, XLA turns it by itself, and `product` can go."""

    def shapes(multiply):
        text = jax.jit(jax.grad(bent(multiply), 1)).lower(X, weights(outputs)).compile().as_text() or ""
        return set(re.findall(r"= f32\[(\d+),(\d+)\]\S* dot\(.*lhs_contracting_dims=\{0\}, rhs_contracting_dims=\{0\}", text))

    assert shapes(product) == {(str(min(4, outputs)), str(max(4, outputs)))}
    assert shapes(jnp.matmul) == {("4", str(outputs))}

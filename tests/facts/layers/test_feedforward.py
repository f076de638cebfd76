"""The exact GELU: value and derivatives those of the definition in float64, and little is kept for the gradient."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxemb.layers.feedforward import gelu

X = np.linspace(-9, 9, 400)
PHI = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in X])
DENSITY = np.exp(-X * X / 2) / math.sqrt(2 * math.pi)


def test_gelu_and_its_derivatives():
    x = jnp.array(X, jnp.float32)
    np.testing.assert_allclose(gelu(x), X * PHI, rtol=1e-6, atol=1e-6)
    first = jax.grad(lambda x: gelu(x).sum())
    np.testing.assert_allclose(first(x), PHI + X * DENSITY, rtol=1e-6, atol=1e-6)
    second = jax.grad(lambda x: first(x).sum())(x)
    np.testing.assert_allclose(second, (2 - X * X) * DENSITY, rtol=1e-5, atol=1e-6)


def test_half_precision_stays():
    assert (
        gelu(jnp.ones(3, jnp.bfloat16)).dtype == jax.grad(lambda x: gelu(x).sum())(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
    )


def test_the_gradient_keeps_nothing_but_what_the_matmuls_give():
    def held(f):
        w = [jnp.ones((8, 256)), jnp.ones((256, 8))] * 4

        def loss(w, x):
            for up, down in zip(w[::2], w[1::2], strict=True):
                x = f(x @ up) @ down
            return x.sum()

        compiled = jax.jit(jax.grad(loss)).lower(w, jnp.ones((512, 8))).compile()
        return compiled.memory_analysis().temp_size_in_bytes / (4 * 512 * 256)

    # For each of four layers x and gelu(x); the library's keeps two more.
    assert held(gelu) < 11 < held(lambda x: jax.nn.gelu(x, approximate=False))


def test_half_precision_keeps_the_negative_tail():
    for dtype, eps in ((jnp.bfloat16, 2**-7), (jnp.float16, 2**-9)):
        x = jnp.linspace(-3, -1, 200).astype(dtype)
        exact = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in np.asarray(x, np.float64)])
        np.testing.assert_allclose(np.asarray(gelu(x), np.float64), exact, rtol=eps)

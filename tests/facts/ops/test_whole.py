"""Gradients of residual paths: the same numbers, each sum computed once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from arrays import normal

from jaxemb.layers.norms import normalise
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.ops.whole import whole_gradient

WEIGHTS = [0.3 * normal(i, 16, 16) for i in range(6)]
X = normal(9, 8, 16)


def gradient(path):
    """Of a chain of residual branches, compiled."""

    def loss(x, weights):
        for w in weights:
            x = path(x + jnp.tanh(normalise(x, 1e-6) @ w))
        return jnp.square(x).sum()

    return jax.jit(jax.grad(loss, (0, 1))).lower(X, WEIGHTS).compile()


def test_the_gradient_is_the_same_and_no_sum_grows_with_depth():
    plain, whole = gradient(lambda x: x), gradient(whole_gradient)
    for a, b in zip(jax.tree.leaves(plain(X, WEIGHTS)), jax.tree.leaves(whole(X, WEIGHTS)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert largest(whole) < 12 < largest(plain)  # when this fails for `plain`, XLA has learned it: `whole_gradient` can go


def largest(compiled) -> int:
    """Operands of the fusion that has most."""
    entry = compiled.as_text().partition("\nENTRY")[2]
    return max(len(re.findall("%", line.partition("calls=")[0])) - 1 for line in entry.splitlines() if " fusion(" in line)


def test_a_gradient_that_is_not_finite_stays_so():
    bad = jax.jit(jax.grad(lambda x: (whole_gradient(x) * jnp.array([jnp.nan, 1.0])).sum()))(jnp.ones(2))
    assert np.isnan(bad[0]) and bad[1] == 1


def test_rows_of_their_own_have_gradients():
    """A decision that hung on a row would be none under `vmap`, and could not be transposed."""
    x = normal(1, 3, 4)
    rows = jax.jit(jax.grad(lambda x: jax.vmap(lambda row: jnp.square(whole_gradient(row)).sum())(x).sum()))(x)
    np.testing.assert_allclose(rows, 2 * x, rtol=1e-6)


def test_forward_mode_and_second_derivatives_go_through_a_block():
    encoder = Transformer(stem=Patches(2), width=4, depth=1, blocks=(Block(Attention(heads=1)),))
    x = jax.random.normal(jax.random.key(1), (1, 2, 4, 1))
    params = jax.jit(encoder.init)(jax.random.key(0), x)

    def loss(x):
        return jnp.exp(encoder.apply(params, x).tokens).sum()  # pyright: ignore

    def both(x):
        _, along = jax.jvp(jax.grad(loss), (x,), (jnp.ones_like(x),))  # forward over reverse, as jax.hessian
        return along, jax.grad(lambda x: jax.grad(loss)(x).sum())(x)

    along, twice = jax.jit(both)(x)
    np.testing.assert_allclose(along, twice, rtol=1e-4, atol=1e-4)
    step = 1e-2
    _, slope = jax.jvp(loss, (x,), (jnp.cos(x),))
    ends = [jax.jit(loss)(x + sign * step * jnp.cos(x)) for sign in (1, -1)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-2)

"""What every pooling keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply

from jaxemb.discover import members
from jaxemb.types import Features

B, N, D = 3, 5, 8


@pytest.fixture(params=members("pooling"), ids=lambda m: m.name)
def case(request, key):
    pool = request.param.cls()
    tokens, prefix = normal(0, B, N, D), normal(0, B, 2, D)
    mask = jnp.arange(N)[None] < jnp.array([[5], [3], [1]])
    f = Features(tokens, mask, prefix=prefix)
    return pool, jax.jit(pool.init)(key, f), f


def test_shape_dtype_and_finite_in_half_precision(case):
    pool, params, f = case
    for dtype in (jnp.float32, jnp.bfloat16):
        out = apply(pool, params, f._replace(tokens=f.tokens.astype(dtype), prefix=f.prefix.astype(dtype)))
        assert out.shape == (B, D) and out.dtype == dtype and bool(jnp.isfinite(out).all())


def test_padded_tokens_cannot_change_the_result(case):
    pool, params, f = case
    other = jnp.where(f.mask[:, :, None], f.tokens, 1e3)
    np.testing.assert_allclose(apply(pool, params, f), apply(pool, params, f._replace(tokens=other)), rtol=1e-6)
    g = jax.grad(lambda t: apply(pool, params, f._replace(tokens=t)).sum())(f.tokens)
    assert bool((jnp.where(f.mask[:, :, None], 0, g) == 0).all())


def test_rows_are_independent(case):
    pool, params, f = case
    swapped = jax.tree.map(lambda x: x[::-1], f)
    np.testing.assert_allclose(apply(pool, params, f)[::-1], apply(pool, params, swapped), rtol=1e-5, atol=1e-6)

"""What every pooling keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import apply
from tiny import tiny

from jaxemb.discover import members
from jaxemb.pooling.chunk_means import ChunkMeans
from jaxemb.pooling.concat import Concat
from jaxemb.pooling.late_interaction import LateInteraction
from jaxemb.types import Features

B, N, D = 3, 5, 8
DEPTH = 3


@pytest.fixture(params=members("pooling"), ids=lambda m: m.name)
def case(request, key):
    pool = tiny(request.param.cls)
    tokens, prefix = normal(0, B, N, D), normal(0, B, 2, D)
    seen = jnp.arange(N)[None] < jnp.array([[5], [3], [1]])
    mask = seen & ((jnp.arange(N) > 0)[None] | (seen.sum(1) == 1)[:, None])  # a prompt of one token does not count
    layers = tuple(normal(i, B, N, D) for i in pool.wants(DEPTH))
    chunks = jnp.where(seen, jnp.arange(N, dtype=jnp.int32)[None] // 2, -1)
    ids = jnp.broadcast_to(jnp.arange(N, dtype=jnp.int32)[None], (B, N))
    f = Features(tokens, mask, layers, prefix, ids, seen=seen, chunks=chunks)
    return pool, jax.jit(pool.init)(key, f), f


def half(f):
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, f)


def test_shape_dtype_and_finite_in_half_precision(case):
    pool, params, f = case
    shape = {Concat: (B, 2 * D), LateInteraction: (B, N, D), ChunkMeans: (B, 3, D)}.get(type(pool), (B, D))
    for dtype, given in ((jnp.float32, f), (jnp.bfloat16, half(f))):
        out = apply(pool, params, given)
        assert out.shape == shape and out.dtype == dtype and bool(jnp.isfinite(out).all())


def test_padded_tokens_cannot_change_the_result(case):
    pool, params, f = case

    def replaced(tokens, layers):
        return f._replace(tokens=tokens, layers=layers)

    other = jax.tree.map(lambda x: jnp.where(f.mask[:, :, None], x, 1e3), (f.tokens, f.layers))
    np.testing.assert_allclose(apply(pool, params, f), apply(pool, params, replaced(*other)), rtol=1e-6)
    for g in jax.tree.leaves(jax.grad(lambda x: apply(pool, params, replaced(*x)).sum())((f.tokens, f.layers))):
        assert bool((jnp.where(f.mask[:, :, None], 0, g) == 0).all())


def test_rows_are_independent(case):
    pool, params, f = case
    swapped = jax.tree.map(lambda x: x[::-1], f)
    np.testing.assert_allclose(apply(pool, params, f)[::-1], apply(pool, params, swapped), rtol=1e-5, atol=1e-6)

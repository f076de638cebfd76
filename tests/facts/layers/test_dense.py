import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from flax import linen as nn

from jaxemb.layers.dense import INITS, Dense, FromHeads, ToHeads
from jaxemb.layers.norms import LayerNorm, normalise

X = normal(0, 2, 3, 5, 8)


def test_dense_is_linens_on_the_same_parameters():
    theirs, ours = nn.Dense(6), Dense(6)
    params = theirs.init(jax.random.key(1), X)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, ours.init(jax.random.key(1), X))
    np.testing.assert_allclose(ours.apply(params, X), theirs.apply(params, X), rtol=1e-5, atol=1e-6)


def test_gradients_are_linens():
    params = nn.Dense(6).init(jax.random.key(1), X)
    g = [jax.grad(lambda p, x, m=m: (m.apply(p, x) ** 2).sum(), argnums=(0, 1))(params, X) for m in (nn.Dense(6), Dense(6))]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *g)


def test_every_matmul_has_two_dimensional_operands():
    """What makes the backward pass fast on CPU."""
    jaxpr = jax.make_jaxpr(jax.grad(lambda p: Dense(6).apply(p, X).sum()))(Dense(6).init(jax.random.key(1), X))
    products = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    assert products and all(v.aval.ndim == 2 for e in products for v in e.invars)


def test_initialisations():
    wide = jnp.zeros((1, 400))
    kernels = {k: Dense(400, kernel_init=k).init(jax.random.key(0), wide)["params"]["kernel"] for k in ("normal", "xavier")}
    np.testing.assert_allclose(kernels["normal"].std(), 0.02, rtol=0.02)
    np.testing.assert_allclose(kernels["xavier"].std(), np.sqrt(2 / 800), rtol=0.02)
    assert float(jnp.abs(kernels["xavier"]).max()) <= np.sqrt(6 / 800)


@pytest.mark.parametrize("name", INITS)
def test_heads_start_as_one_matrix_does(name):
    """The same spread in a plain layer, to heads and from heads."""
    wide, heads = jnp.zeros((1, 256)), jnp.zeros((1, 8, 32))
    layers = (
        (Dense(256, kernel_init=name), wide),
        (ToHeads(8, 32, kernel_init=name), wide),
        (FromHeads(256, kernel_init=name), heads),
    )
    spread = [float(m.init(jax.random.key(0), x)["params"]["kernel"].std()) for m, x in layers]
    np.testing.assert_allclose(spread, spread[0], rtol=0.03)


def test_layer_norm_is_linens():
    theirs, ours = nn.LayerNorm(epsilon=1e-6), LayerNorm()
    params = {"params": {"scale": jnp.arange(8.0), "bias": jnp.arange(8.0) / 7}}
    np.testing.assert_allclose(ours.apply(params, X), theirs.apply(params, X), rtol=1e-4, atol=1e-5)


def test_normalise_by_hand():
    np.testing.assert_allclose(normalise(jnp.array([[1.0, 3.0]]), 0.0), [[-1, 1]], rtol=1e-6)
    np.testing.assert_allclose(normalise(jnp.array([[1.0, 3.0]]), 3.0), [[-0.5, 0.5]], rtol=1e-6)


def test_half_precision_keeps_float32_statistics():
    x = (1000 + jnp.arange(8.0)).astype(jnp.bfloat16)[None]
    out = LayerNorm().apply(LayerNorm().init(jax.random.key(0), x.astype(jnp.float32)), x)
    assert out.dtype == jnp.bfloat16 and bool(jnp.isfinite(out).all())

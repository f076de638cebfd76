import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.attention import attention


def reference(q, k, v, bias=0.0, allowed=True):
    """softmax(q k / sqrt(e)) v in float64, head by head."""
    q, k, v = (np.asarray(x, np.float64).transpose(0, 2, 1, 3) for x in (q, k, v))
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + bias
    logits = np.where(allowed, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return ((weights / weights.sum(-1, keepdims=True)) @ v).transpose(0, 2, 1, 3)


@pytest.fixture
def qkv():
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(jax.random.normal(k, (2, n, 3, 4)) for k, n in zip(keys, (5, 7, 7), strict=True))


def test_against_float64(qkv):
    np.testing.assert_allclose(attention(*qkv), reference(*qkv), rtol=1e-5, atol=1e-6)


def test_bias_and_mask(qkv):
    bias = jax.random.normal(jax.random.key(1), (1, 3, 5, 7))
    mask = jnp.arange(7)[None] < jnp.array([[7], [4]])
    expected = reference(*qkv, np.asarray(bias), np.asarray(mask)[:, None, None])
    np.testing.assert_allclose(attention(*qkv, bias=bias, mask=mask), expected, rtol=1e-5, atol=1e-6)


def test_causal_by_gradient(qkv):
    q, k, v = qkv
    q = q[:, :3]
    k, v = k[:, :3], v[:, :3]
    g = jax.grad(lambda k, v: attention(q, k, v, causal=True)[:, 1].sum(), argnums=(0, 1))(k, v)
    for x in g:
        assert (np.asarray(x[:, 2]) == 0).all(), "the second token must not see the third"
    assert (np.asarray(g[1][:, :2]) != 0).all()


def test_masked_keys_get_no_gradient(qkv):
    mask = jnp.array([[True] * 4 + [False] * 3] * 2)
    gk, gv = jax.grad(lambda k, v: (attention(qkv[0], k, v, mask=mask) ** 2).sum(), argnums=(0, 1))(*qkv[1:])
    assert (np.asarray(gk[:, 4:]) == 0).all() and (np.asarray(gv[:, 4:]) == 0).all()


def test_no_valid_key_is_finite(qkv):
    out, g = jax.value_and_grad(lambda v: attention(*qkv[:2], v, mask=jnp.zeros((2, 7), bool)).sum())(qkv[2])
    assert jnp.isfinite(out) and bool(jnp.isfinite(g).all())


def test_half_precision_has_a_float32_softmax(qkv):
    half = tuple(x.astype(jnp.bfloat16) for x in qkv)
    out = attention(*half)
    assert out.dtype == jnp.bfloat16
    exact = reference(*(np.asarray(x, np.float32) for x in half))
    np.testing.assert_allclose(np.asarray(out, np.float32), exact, rtol=0.03, atol=0.02)

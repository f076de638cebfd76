"""Attention against the same written out in NumPy, a head at a time, with every parameter drawn (none is 0 or 1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.layers.norms import LayerNorm, RMSNorm
from jaxemb.nn.attention import Attention
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Shared

N, D = 5, 8
X = normal(0, 2, N, D)
SHARED = Shared(jnp.zeros((1, N, 1), jnp.int32))
CASES = {
    "plain": {},
    "kv_heads": {"kv_heads": 2},
    "one_kv_head": {"kv_heads": 1},
    "head_width": {"head_width": 3},
    "scale": {"scale": 1.3},
    "softcap": {"softcap": 0.4},
    "window": {"window": 1},
    "itself_alone": {"window": 0},
    "layer_norm": {"qk_norm": LayerNorm()},
    "rms_norm": {"qk_norm": RMSNorm(eps=0.1)},
    "no_bias": {"bias": False},
    "no_out_bias": {"out_bias": False},
    "no_key_bias": {"key_bias": False},
    "key_bias_alone": {"bias": False, "key_bias": True},
    "out_bias_alone": {"bias": False, "out_bias": True},
    "all": {"kv_heads": 2, "head_width": 3, "scale": 0.7, "softcap": 0.6, "window": 2, "qk_norm": RMSNorm(), "out_bias": False},
}


def drawn(model, *inputs):
    """Parameters of the model's shapes, all of them random."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(scale=0.7, size=s.shape), jnp.float32), shapes)


def normed(norm, p, x):
    """As the docstrings of the norms say."""
    if isinstance(norm, RMSNorm):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + norm.eps) * p["scale"]
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps) * p["scale"] + p["bias"]


def by_hand(model, p, x, sees):
    """(y, weights b n h m), where sees[i, j] says whether token i may look at token j."""
    x = np.asarray(x, np.float64)
    h, g, e = model.heads, model.kv_heads or model.heads, model.head_width or D // model.heads
    q, k, v = (np.einsum("bnd,dhe->bnhe", x, p[name]["kernel"]) + p[name].get("bias", 0) for name in "qkv")
    assert q.shape[2:] == (h, e) and k.shape[2:] == v.shape[2:] == (g, e)
    if model.qk_norm is not None:
        q, k = normed(model.qk_norm, p["q_norm"], q), normed(model.qk_norm, p["k_norm"], k)
    y, weights = p["out"].get("bias", np.zeros(D)), []
    for i in range(h):
        own = i // (h // g)  # heads of queries that stand side by side share one of keys and values
        s = q[:, :, i] @ k[:, :, own].transpose(0, 2, 1) * (e**-0.5 if model.scale is None else model.scale)
        if model.softcap is not None:
            s = model.softcap * np.tanh(s / model.softcap)
        w = np.exp(s) * sees
        w = w / w.sum(-1, keepdims=True)
        weights.append(w)
        y = y + w @ v[:, :, own] @ p["out"]["kernel"][i]
    return y, np.stack(weights, 2)


def near(window, n=N):
    apart = np.abs(np.arange(n)[:, None] - np.arange(n)[None])
    return np.ones((n, n), bool) if window is None else apart <= window


@pytest.mark.parametrize("name", CASES)
def test_is_the_formula(name):
    model = Attention(4, **CASES[name])
    params = drawn(model, X, SHARED, Allow())
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
    for part, own in (("q", None), ("k", model.key_bias), ("v", None), ("out", model.out_bias)):
        assert ("bias" in p[part]) == (model.bias if own is None else own)
    y, left = model.apply(params, X, SHARED, Allow(), mutable=["intermediates"])
    expected, weights = by_hand(model, p, X, near(model.window))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(left["intermediates"]["weights"][0], weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("own", "asked", "seen"), [(1, 3, 1), (3, 1, 1), (None, 2, 2)])
def test_the_window_of_a_layer_narrows_what_the_caller_allows(own, asked, seen):
    """And what else he rules out stays ruled out."""
    model = Attention(2, window=own)
    params = drawn(model, X, SHARED, Allow())
    p = jax.tree.map(np.asarray, params["params"])
    y = model.apply(params, X, SHARED, Allow(causal=True, window=asked))
    np.testing.assert_allclose(y, by_hand(model, p, X, near(seen) & np.tri(N, dtype=bool))[0], rtol=1e-4, atol=1e-5)


def test_dropout_is_of_the_result_and_acts_in_training_alone():
    model = Attention(2, dropout=0.5)
    params = drawn(model, X, SHARED, Allow())
    quiet = Attention(2).apply(params, X, SHARED, Allow(), True)
    np.testing.assert_array_equal(model.apply(params, X, SHARED, Allow()), quiet)
    factors = np.asarray(model.apply(params, X, SHARED, Allow(), True, rngs={"dropout": jax.random.key(0)}) / quiet)
    kept = factors > 1
    np.testing.assert_allclose(factors, 2.0 * kept, rtol=1e-5)
    assert 0.25 < kept.mean() < 0.75


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 0}, "Attention.heads must be at least 1, is 0"),
        ({"kv_heads": 0}, "Attention.kv_heads must be at least 1, is 0"),
        ({"head_width": -1}, "Attention.head_width must be at least 1, is -1"),
        ({"heads": 4, "kv_heads": 3}, "Attention.heads=4 is not a multiple of kv_heads=3"),
        ({"window": -1}, "Attention.window must not be negative, is -1"),
        ({"scale": 0.0}, "Attention.scale must be finite and above 0, is 0.0"),
        ({"softcap": -5.0}, "Attention.softcap must be finite and above 0, is -5.0"),
        ({"dropout": 1.0}, r"Attention.dropout must be in \[0, 1\), is 1.0"),
        ({"kernel_init": "uniform"}, "kernel_init='uniform'.*lecun, normal"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Attention(**fields)

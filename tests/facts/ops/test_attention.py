import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow, positions_within, predicted
from jaxemb.ops.attention import attention
from jaxemb.train.sharding import make_mesh, on_mesh


def reference(q, k, v, bias=0.0, allowed=True):
    """softmax(q k / sqrt(e)) v in float64, head by head."""
    q, k, v = (np.asarray(x, np.float64).transpose(0, 2, 1, 3) for x in (q, k, v))
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + bias
    logits = np.where(allowed, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return ((weights / weights.sum(-1, keepdims=True)) @ v).transpose(0, 2, 1, 3)


@pytest.fixture
def qkv():
    return tuple(normal(i, 2, n, 3, 4) for i, n in enumerate((5, 7, 7)))


def test_against_float64(qkv):
    np.testing.assert_allclose(attention(*qkv), reference(*qkv), rtol=1e-5, atol=1e-6)


def test_bias_and_mask(qkv):
    bias = normal(1, 1, 3, 5, 7)
    mask = jnp.arange(7)[None] < jnp.array([[7], [4]])
    expected = reference(*qkv, np.asarray(bias), np.asarray(mask)[:, None, None])
    np.testing.assert_allclose(attention(*qkv, bias=bias, allow=Allow(mask)), expected, rtol=1e-5, atol=1e-6)


def test_causal_by_gradient(qkv):
    q, k, v = qkv
    q = q[:, :3]
    k, v = k[:, :3], v[:, :3]
    g = jax.grad(lambda k, v: attention(q, k, v, allow=Allow(causal=True))[:, 1].sum(), argnums=(0, 1))(k, v)
    for x in g:
        assert (np.asarray(x[:, 2]) == 0).all(), "the second token must not see the third"
    assert (np.asarray(g[1][:, :2]) != 0).all()


def test_masked_keys_get_no_gradient(qkv):
    mask = jnp.array([[True] * 4 + [False] * 3] * 2)
    gk, gv = jax.grad(lambda k, v: (attention(qkv[0], k, v, allow=Allow(mask)) ** 2).sum(), argnums=(0, 1))(*qkv[1:])
    assert (np.asarray(gk[:, 4:]) == 0).all() and (np.asarray(gv[:, 4:]) == 0).all()


def test_no_valid_key_is_finite(qkv):
    out, g = jax.value_and_grad(lambda v: attention(*qkv[:2], v, allow=Allow(jnp.zeros((2, 7), bool))).sum())(qkv[2])
    assert jnp.isfinite(out) and bool(jnp.isfinite(g).all())


def test_half_precision_has_a_float32_softmax(qkv):
    half = tuple(x.astype(jnp.bfloat16) for x in qkv)
    out = attention(*half)
    assert out.dtype == jnp.bfloat16
    exact = reference(*(np.asarray(x, np.float32) for x in half))
    np.testing.assert_allclose(np.asarray(out, np.float32), exact, rtol=0.03, atol=0.02)


# ---- who may look at whom, on every backend --------------------------------------------------------------------------------------

VALID = jnp.arange(7)[None] < jnp.array([[7], [4]])
SEGMENTS = jnp.array([[0, 0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 1, 1, 1]])
ALLOWED = {
    "all": Allow(),
    "padding": Allow(VALID),
    "causal": Allow(causal=True),
    "window": Allow(window=2),
    "segments": Allow(None, SEGMENTS),
    "everything": Allow(VALID, SEGMENTS, causal=True, window=3),
    "prefix": Allow(VALID, window=1, prefix=2),
    "causal prefix": Allow(causal=True, window=0, prefix=1),
    "nothing": Allow(jnp.zeros((2, 7), bool)),
}


def by_definition(allow, n, m, rows=2):
    """The mask written out pair by pair; queries are the last n of the m tokens."""
    found = np.ones((rows, n, m), bool)
    for b in range(rows):
        for i in range(n):
            for j in range(m):
                at = i + m - n
                if allow.valid is not None:
                    found[b, i, j] &= bool(allow.valid[b, j])
                if allow.segments is not None:
                    found[b, i, j] &= bool(allow.segments[b, at] == allow.segments[b, j])
                if allow.causal:
                    found[b, i, j] &= j <= at
                if allow.window is not None:
                    found[b, i, j] &= abs(at - j) <= allow.window or min(at, j) < allow.prefix
    return found


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("n", [7, 5, 1])
def test_every_backend_gives_what_the_definition_says(qkv, name, n):
    """The path of the GPU runs here with XLA's implementation; n < m: a causal query is one of the last tokens."""
    allow, (q, k, v) = ALLOWED[name], qkv
    q = jnp.concatenate([q, q], axis=1)[:, :n]
    mask = by_definition(allow, n, 7)
    some = mask.any(-1)[:, :, None, None]
    with np.errstate(all="ignore"):
        expected = np.where(some, np.nan_to_num(reference(q, k, v, 0.0, mask[:, None])), 0)
    for backend in ("cpu", "gpu", "tpu"):
        out = attention(q, k, v, allow=allow, backend=backend)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5, err_msg=backend)


def test_some_of_the_queries_have_their_rows_of_the_mask():
    allow = ALLOWED["everything"]
    np.testing.assert_array_equal(allow.mask(5, 7, jnp.array([3, 1])), allow.mask(5, 7)[:, :, jnp.array([3, 1])])


def test_scale_and_softcap(qkv):
    q, k, v = qkv
    logits = 3 * np.tanh(np.einsum("bnhe,bmhe->bhnm", q, k) * 0.7 / 3)
    weights = np.asarray(jax.nn.softmax(logits, -1))
    expected = np.einsum("bhnm,bmhe->bnhe", weights, v)
    for backend in ("cpu", "gpu"):
        np.testing.assert_allclose(attention(q, k, v, scale=0.7, softcap=3.0, backend=backend), expected, rtol=1e-4, atol=1e-5)


def test_positions_begin_anew_in_each_segment():
    np.testing.assert_array_equal(positions_within(SEGMENTS), [[0, 1, 2, 0, 1, 2, 0], [0, 0, 1, 2, 3, 4, 5]])


def test_packed_rows_cannot_share_a_class_token():
    with pytest.raises(ConfigError, match="segments.*cannot share class or register tokens"):
        Allow(None, SEGMENTS).after(1)


def test_the_gradient_keeps_one_array_of_all_pairs():
    q = jnp.ones((2, 128, 4, 16))
    step = jax.jit(jax.grad(lambda q: attention(q, q, q).sum()))
    pairs = 4 * 2 * 4 * 128 * 128
    assert step.lower(q).compile().memory_analysis().temp_size_in_bytes < 2.7 * pairs  # and one of their gradient


def test_what_follows_padding_is_not_predicted():
    batch = {"tokens": np.ones((2, 4), int), "mask": np.array([[0, 0, 1, 1], [1, 1, 1, 0]], bool)}
    np.testing.assert_array_equal(predicted(batch), [[0, 0, 1], [1, 1, 0]])


# ---- in pieces -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [1, 3 * 7 * 2, 3 * 7 * 7], ids=["a query", "two queries, the last piece once", "a row"])
def test_attention_in_pieces_is_attention(qkv, monkeypatch, cached):
    q, k, v = qkv
    biases = (None, normal(5, 1, 3, 5, 7), normal(6, 2, 1, 5, 7))
    for name, bias in zip(("everything", "nothing", "causal prefix"), biases, strict=True):
        how = {"bias": bias, "allow": ALLOWED[name], "softcap": 2.0 if bias is None else None}
        whole = attention(q, k, v, **how)
        with monkeypatch.context() as patched:
            patched.setattr("jaxemb.ops.attention.CACHED", cached)
            np.testing.assert_allclose(attention(q, k, v, **how), whole, rtol=1e-5, atol=1e-6, err_msg=name)


def test_many_logits_are_never_all_in_memory_unless_a_gradient_is(monkeypatch):
    monkeypatch.setattr("jaxemb.ops.attention.CACHED", 2**14)
    q = jnp.ones((2, 256, 4, 8))
    temporary = lambda f: jax.jit(f).lower(q).compile().memory_analysis().temp_size_in_bytes  # noqa: E731
    pairs = 4 * 2 * 4 * 256 * 256
    forward = lambda q: attention(q, q, q, allow=Allow(causal=True)).sum()  # noqa: E731
    assert temporary(forward) < pairs / 4
    assert pairs < temporary(jax.grad(forward)) < 3 * pairs


def test_on_several_gpus_each_has_its_own_rows_and_heads():
    mesh = make_mesh({"data": 2, "fsdp": 2, "model": 2})
    whole = tuple(normal(i, 4, n, 2, 4) for i, n in enumerate((5, 7, 7)))
    cut = jax.device_put(whole, NamedSharding(mesh, P(("data", "fsdp"), None, "model")))
    valid = np.arange(7)[None] < np.array([[7], [4], [0], [1]])
    run = jax.jit(on_mesh(lambda q, k, v: attention(q, k, v, allow=Allow(jnp.asarray(valid)), backend="gpu"), mesh))
    compiled = run.lower(*cut).compile()
    np.testing.assert_allclose(compiled(*cut), attention(*whole, allow=Allow(jnp.asarray(valid))), rtol=1e-4, atol=1e-5)
    assert "all-gather" not in compiled.as_text()

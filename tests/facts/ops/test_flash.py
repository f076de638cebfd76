"""The path of TPUs: its kernels, run step by step on the CPU, give what the einsum path gives, forward and backward."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from jax.experimental import pallas
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.aot.program import uncached
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.ops.flash import Seen
from jaxemb.train.sharding import make_mesh, on_mesh, replicated

ROWS, HEADS, WIDTH = 4, 2, 8
SOME = np.array([[1.0], [0.4], [0.7], [0.0]])
"""Shares of the keys that are no padding; the last row is all padding."""


@pytest.fixture
def interpreted(monkeypatch):
    """Kernels as XLA:CPU computes them, of any number of tokens."""
    call = pallas.pallas_call
    monkeypatch.setattr(pallas, "pallas_call", lambda *args, interpret=None, **how: call(*args, interpret=True, **how))
    monkeypatch.setattr("jaxemb.ops.attention.FLASH_FROM", 1)
    jax.clear_caches()  # the library remembers what it traced
    yield
    jax.clear_caches()


def allows(m):
    valid = jnp.asarray(np.arange(m)[None] < m * SOME)
    segments = jnp.asarray(np.arange(m)[None] * np.array([[3], [5], [1], [2]]) // m)
    return {
        "all": Allow(),
        "padding": Allow(valid),
        "causal": Allow(causal=True),
        "window": Allow(window=9),
        "segments": Allow(None, segments),
        "prefix": Allow(valid, window=9, prefix=3),
        "causal prefix": Allow(causal=True, window=5, prefix=2),
        "everything": Allow(valid, segments, causal=True, window=31),
    }


def check(allow, n, m, bias=None, softcap=None, mesh=None, width=WIDTH):
    """Values and gradients of both paths."""
    q, k, v, weight = (normal(i, ROWS, rows, HEADS, width) for i, rows in enumerate((n, m, m, n)))
    arrays = (q, k, v) if bias is None else (q, k, v, bias)
    arrays = arrays if mesh is None else jax.device_put(arrays, replicated(mesh))

    def both(backend):
        def loss(*arrays):
            out = attention(
                *arrays[:3], bias=(*arrays, None)[3], allow=allow, softcap=softcap, scale=2 * width**-0.5, backend=backend
            )
            return (out * weight).sum(), out

        run = jax.grad(loss, argnums=tuple(range(len(arrays))), has_aux=True)
        grads, out = jax.jit(run if mesh is None else on_mesh(run, mesh))(*arrays)
        return out, *grads

    for name, ours, exact in zip(("output", *"qkv", "bias"), both("tpu"), both("cpu"), strict=False):
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=2e-5, err_msg=name)


def test_with_everything_at_once_on_a_mesh(interpreted):
    check(allows(200)["everything"], 130, 200, softcap=2.0, mesh=make_mesh({"data": 2, "fsdp": 2, "model": 2}))


def test_a_bias_that_all_rows_share_on_a_mesh(interpreted):
    mesh = make_mesh({"data": 2, "model": 2}, jax.devices()[:4])
    check(allows(130)["prefix"], 130, 130, normal(5, 1, HEADS, 130, 130), mesh=mesh)


@pytest.mark.parametrize(("name", "n", "m"), [("padding", 128, 128), ("causal prefix", 200, 130)])
def test_without_a_mesh(interpreted, name, n, m):
    """More queries than keys: the first ones stand before all keys."""
    check(allows(m)[name], n, m)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(256, 256), (200, 300), (300, 200)])
@pytest.mark.parametrize("biases", [0, 1, ROWS])
@pytest.mark.parametrize("name", allows(8))
def test_every_allow(interpreted, name, biases, n, m):
    allow = allows(m)[name]
    if allow.segments is not None and n > m:
        pytest.skip("segments are of the keys")
    check(allow, n, m, bias=normal(5, biases, 1, n, m) if biases else None)
    if not biases:
        check(allow, n, m, softcap=1.5, width=160)


@pytest.mark.parametrize("allow", [Allow(causal=True), Allow(window=3), Allow(window=1, prefix=2), Allow(causal=True, window=2)])
def test_no_block_with_a_pair_that_is_seen_is_left_out(allow):
    """And few others are kept."""
    for n, m in ((12, 12), (8, 12), (12, 8)):
        seen, left = Seen(allow, n, m), 0
        pairs = np.asarray(seen(np.arange(n)[:, None], np.arange(16)[None]))
        expected = allow.mask(n, m)
        np.testing.assert_array_equal(pairs[:, :m], expected[0, 0])
        assert not pairs[:, m:].any(), "padding behind the last key"
        for i in range(0, n, 4):
            for j in range(0, 16, 4):
                found = seen.any(slice(i, i + 4), slice(j, j + 4))
                assert found or not pairs[i : i + 4, j : j + 4].any()
                left += not found
        assert left >= n // 4 or allow.prefix, "a block of padding in every row"


# ---- compiled for TPUs that are not here -----------------------------------------------------------------------------------------


@pytest.fixture
def mesh(monkeypatch):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed: pip install -e '.[tpu]'")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    return Mesh(np.array(devices).reshape(2, 1, 2), ("data", "fsdp", "model"))


def compiled(mesh, how, n, m=None, bias=False, width=64):
    """The gradient of attention of four rows and four heads; `how` makes an `Allow` of ids, and says the soft cap."""

    def array(*shape, dtype=jnp.bfloat16, cut):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P(*cut)))

    m = m or n
    q, k = (array(4, rows, 4, width, cut=(("data", "fsdp"), None, "model")) for rows in (n, m))
    ids = array(4, m, dtype=jnp.int32, cut=(("data", "fsdp"),))
    added = array(1, 4, n, m, cut=(None, "model")) if bias else None

    def loss(q, k, v, bias, ids):
        allow, softcap = how(ids)
        return attention(q, k, v, bias=bias, allow=allow, softcap=softcap).astype(jnp.float32).sum()

    run = on_mesh(jax.grad(loss, argnums=(0, 1, 2, 3) if bias else (0, 1, 2)), mesh)
    lowered = jax.jit(run).lower(q, k, k, added, ids)
    with uncached():
        return lowered.compile()


def everything(ids):
    return Allow(ids > 0, ids, causal=True, window=300), 30.0


def most(tokens, width=64):
    """Bytes of the arrays that the kernels keep on a device, which has two rows and two heads: as wide as the lanes a dozen of the
    size of q, and in float32 two sums a query. A mask of all pairs of 65 536 tokens is 4 GiB a row."""
    return 2 * 2 * tokens * 128 * (12 * -(-width // 128) * 2 + 2 * 4)


def test_memory_is_linear_in_tokens_and_nothing_is_gathered(mesh):
    found = compiled(mesh, everything, 65_000)
    assert 0 < found.memory_analysis().temp_size_in_bytes < most(65_000)
    text = found.as_text()
    assert text.count("tpu_custom_call") >= 3, "forward, gradient of q, gradient of k and v"
    assert not any(word in text for word in (" all-gather(", " all-to-all(", " collective-permute("))
    assert "bf16[2,2,65024,64]" in text, "every device has its own rows and heads, in whole blocks"


@pytest.mark.slow
@pytest.mark.parametrize("width", [64, 80, 256])
@pytest.mark.parametrize(
    "how", [lambda ids: (Allow(), None), lambda ids: (Allow(window=64), None), lambda ids: (Allow(ids > 0), None), everything]
)
def test_every_width_and_kind_at_8_192_and_32_768_tokens(mesh, how, width):
    short, long = (compiled(mesh, how, n, width=width) for n in (8192, 32_768))
    assert " all-gather(" not in short.as_text() + long.as_text()
    assert long.memory_analysis().temp_size_in_bytes < most(32_768, width)


@pytest.mark.slow
def test_a_bias_is_held_once_and_not_once_a_row(mesh):
    pairs = 2 * 8192 * 8192  # of a device's two heads, of which there are the bias and its gradient
    found = compiled(mesh, lambda ids: (Allow(ids > 0), None), 8192, bias=True)
    assert found.memory_analysis().temp_size_in_bytes < 5 * 2 * pairs
    assert " all-gather(" not in found.as_text()

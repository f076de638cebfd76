"""What every positional embedding keeps to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.discover import members
from jaxemb.nn.transformer import Transformer

MEMBERS = members("posemb")
B, N, H, D = 2, 6, 2, 16


def build(member):
    return member.cls(**getattr(member.cls, "tiny", {}))


def position_axes(module):
    """How many numbers a position must have: of a member that takes any number, two."""
    return getattr(module, "axes", None) or len(getattr(module, "shape", (0, 0)))


def run(module, params, x, pos):
    """All three hooks, as the transformer uses them."""
    q = x.reshape(*x.shape[:2], H, -1)
    add = module.apply(params, x, pos, method="add")
    rotated = module.apply(params, q, q, pos, method="rotate")
    return add, *rotated, module.apply(params, pos, pos, H, method="bias")


@pytest.fixture(params=MEMBERS, ids=lambda m: m.name)
def case(request, key):
    module = build(request.param)
    axes = position_axes(module)
    pos = jax.random.randint(key, (B, N, axes), 0, 4)
    x = jax.random.normal(key, (B, N, D))
    return module, module.init(key, x, pos, method="add"), x, pos


def test_shapes_and_dtypes(case):
    module, params, x, pos = case
    for dtype in (jnp.float32, jnp.bfloat16):
        add, q, k, bias = run(module, params, x.astype(dtype), pos)
        assert add.shape == x.shape and add.dtype == dtype
        assert q.shape == k.shape == (B, N, H, D // H) and q.dtype == k.dtype == dtype
        assert bias is None or bias.shape in ((B, H, N, N), (1, H, N, N))
        assert all(bool(jnp.isfinite(y).all()) for y in (add, q, k, bias) if y is not None)


def test_permuting_tokens_with_their_positions_permutes_the_result(case):
    module, params, x, pos = case
    order = jnp.array([3, 0, 5, 1, 4, 2])
    add, q, k, bias = run(module, params, x, pos)
    add2, q2, k2, bias2 = run(module, params, x[:, order], pos[:, order])
    for a, b in ((add, add2), (q, q2), (k, k2)):
        np.testing.assert_allclose(a[:, order], b, rtol=1e-6, atol=1e-6)
    if bias is not None:
        np.testing.assert_allclose(bias[:, :, order][:, :, :, order], bias2, rtol=1e-6, atol=1e-6)


def test_fits_the_encoder_and_changes_of_position_do_not_recompile(case, key):
    module, _, _, pos = case
    if pos.shape[-1] != 2:
        pytest.skip("images have two axes")
    encoder = Transformer(width=D, depth=1, heads=H, pos=module)
    images = jax.random.normal(key, (B, 32, 32, 3))
    keep = jnp.array([[0, 5, 9], [1, 2, 15]])
    params = jax.jit(encoder.init)(key, images)
    traces = []

    @jax.jit
    def tokens(params, images, keep):
        traces.append(1)
        return encoder.apply(params, images, keep=keep).tokens

    first = tokens(params, images, keep)
    tokens(params, images, keep[::-1])
    assert len(traces) == 1 and first.shape == (B, 3, D)
    # Positions are data: which patches come in which order does not matter to any of them.
    np.testing.assert_allclose(first[:, ::-1], tokens(params, images, keep[:, ::-1]), rtol=1e-4, atol=1e-5)

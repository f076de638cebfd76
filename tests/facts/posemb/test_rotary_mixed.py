import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.posemb.base import Places, Shared
from jaxemb.posemb.rotary import Rotary
from jaxemb.posemb.rotary_mixed import MixedRotary

Q, K = normal(0, 2, 2, 5, 2, 8)
CELLS = jnp.array([[[0, 0], [0, 3], [1, 2], [4, 0], [2, 7]]])


@pytest.fixture(scope="module")
def params():
    return MixedRotary().init(jax.random.key(1), Q, K, Shared(CELLS), method="rotate")


def rotate(params, pos, q=Q, k=K, prefix=0):
    shared = MixedRotary().prepare(Places(pos), heads=2, width=8, prefix=prefix)
    return MixedRotary().apply(params, q, k, shared, method="rotate")


def test_start_is_half_along_a_direction_and_half_across_it(params):
    f = params["params"]["frequencies"]
    assert f.shape == (2, 2, 4)
    size = jnp.hypot(f[0], f[1])  # of each head: 10^(-4j/8) twice
    np.testing.assert_allclose(size, np.tile([1, 10**-0.5], (2, 2)), rtol=1e-5)
    angle = jnp.arctan2(f[1], f[0])
    np.testing.assert_allclose(angle[:, 0], angle[:, 1], atol=1e-5)
    np.testing.assert_allclose((f[:, :, :2] * f[:, :, 2:]).sum(0), 0, atol=1e-6)
    assert abs(float(angle[0, 0] - angle[1, 0])) > 0.01  # heads look along different directions


def test_the_same_start_in_64_bits(params):
    with jax.enable_x64(True):
        wide = MixedRotary().init(jax.random.key(1), Q, K, Shared(CELLS), method="rotate")
    np.testing.assert_allclose(wide["params"]["frequencies"], params["params"]["frequencies"], rtol=1e-6)


def test_logits_depend_on_distances_alone(params):
    def logits(pos):
        return jnp.einsum("bnhe,bmhe->bhnm", *rotate(params, pos))

    np.testing.assert_allclose(logits(CELLS + jnp.array([[[-11, 20]]])), logits(CELLS), atol=1e-4)
    assert float(abs(logits(CELLS[..., ::-1]) - logits(CELLS)).max()) > 0.1


def test_axis_aligned_frequencies_are_axial_rotary():
    theta = 100.0 ** -jnp.array([0.0, 0.5])
    nothing = jnp.zeros(2)
    f = jnp.stack([jnp.concatenate([theta, nothing]), jnp.concatenate([nothing, theta])])[:, None] * jnp.ones((1, 2, 1))
    axial = Rotary(axes=2, base=100.0)
    expected = axial.rotate(Q, K, axial.prepare(Places(CELLS), heads=2, width=8))
    for a, b in zip(rotate({"params": {"frequencies": f}}, CELLS), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_every_pair_keeps_its_length_and_class_tokens_stay(params):
    q, _ = rotate(params, CELLS)
    np.testing.assert_allclose(jnp.hypot(q[..., :4], q[..., 4:]), jnp.hypot(Q[..., :4], Q[..., 4:]), rtol=1e-5)
    q, _ = rotate(params, CELLS[:, 1:], prefix=1)
    np.testing.assert_array_equal(q[:, 0], Q[:, 0])
    assert float(abs(q[:, 1] - Q[:, 1]).max()) > 0.1


def test_every_layer_has_its_own_frequencies(key):
    images = jnp.ones((1, 4, 4, 1)) * jnp.arange(4.0)[None, :, None, None]
    encoder = Transformer(stem=Patches(2), width=16, depth=2, blocks=(Block(Attention(2)),), pos=MixedRotary())
    params = jax.jit(encoder.init)(key, images)["params"]
    assert "pos" not in params
    first, second = (params[f"block_{i}"]["attention"]["pos"]["frequencies"] for i in (0, 1))
    assert first.shape == second.shape == (2, 2, 4) and float(abs(first - second).max()) > 0.01
    scanned = jax.jit(encoder.clone(scan=True).init)(key, images)["params"]["blocks"]["block_0"]["attention"]["pos"]["frequencies"]
    assert scanned.shape == (2, 2, 2, 4) and float(abs(scanned[0] - scanned[1]).max()) > 0.01


def test_frequencies_get_a_gradient(params):
    g = jax.grad(lambda p: (jnp.einsum("bnhe,bmhe->bhnm", *rotate(p, CELLS)) ** 2).sum())(params)
    assert bool((abs(g["params"]["frequencies"]) > 0).all())


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="MixedRotary needs axes=2 and base > 0, not 1 and 10.0"):
        MixedRotary(axes=1)
    with pytest.raises(ConfigError, match="MixedRotary needs axes=2 and base > 0, not 2 and 0.0"):
        MixedRotary(base=0.0)
    with pytest.raises(ConfigError, match=r"MixedRotary\(axes=2\) was given positions of 1 numbers"):
        MixedRotary().init(jax.random.key(0), Q, K, Shared(CELLS[..., :1]), method="rotate")
    with pytest.raises(ConfigError, match="a head width that is a multiple of 4, not 6"):
        MixedRotary().init(jax.random.key(0), Q[..., :6], K[..., :6], Shared(CELLS), method="rotate")

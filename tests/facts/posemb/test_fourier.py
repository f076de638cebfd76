import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.fourier import LearnableFourier, fourier


def test_waves_by_hand():
    r = fourier(jnp.array([[2, 3]]), jnp.array([[0.5, 0.0], [1.0, -1.0]]))
    np.testing.assert_allclose(r[0], np.array([np.cos(1), np.cos(1), np.sin(1), -np.sin(1)]) / 2, rtol=1e-6)


def test_products_depend_on_the_difference_and_follow_a_gaussian():
    """E[cos(w . x)] = exp(-|x|^2 / (2 gamma^2)): 20,000 waves, gamma = 4."""
    waves = normal(0, 20_000, 2) / 4
    r = np.asarray(fourier(jnp.array([[0.0, 0.0], [3.0, 4.0], [10.0, 1.0], [13.0, 5.0]]), waves))
    np.testing.assert_allclose(r @ r.T, (r @ r.T).T)
    np.testing.assert_allclose((r**2).sum(-1), 0.5, rtol=1e-4)
    assert r[0] @ r[1] == pytest.approx(r[2] @ r[3], abs=1e-4)
    assert r[0] @ r[1] == pytest.approx(np.exp(-25 / 32) / 2, abs=0.01)


def test_adds_the_mlp_of_the_waves(key):
    x, pos = jnp.ones((2, 3, 8)), jnp.array([[[0.0], [1.5], [4.0]]])
    module = LearnableFourier(features=6, hidden=5)
    variables = module.init(key, x, Places(pos), method="add")
    p = variables["params"]
    assert jax.tree.map(jnp.shape, p) == {
        "waves": (3, 1),
        "up": {"kernel": (6, 5), "bias": (5,)},
        "down": {"kernel": (5, 8), "bias": (8,)},
    }
    hidden = jax.nn.gelu(fourier(pos, p["waves"]) @ p["up"]["kernel"], approximate=False)
    np.testing.assert_allclose(
        module.apply(variables, x, Places(pos), method="add"),
        1 + jnp.broadcast_to(hidden @ p["down"]["kernel"], x.shape),
        rtol=1e-5,
    )


def test_spread_of_the_waves_is_one_over_gamma(key):
    x, pos = jnp.zeros((1, 1, 4)), jnp.zeros((1, 1, 2))
    waves = LearnableFourier(features=4000, gamma=5.0).init(key, x, Places(pos), method="add")["params"]["waves"]
    assert float(waves.std()) == pytest.approx(0.2, rel=0.05)


def test_wrong_sizes_are_named():
    with pytest.raises(ConfigError, match="features=5 must be even"):
        LearnableFourier(features=5)
    with pytest.raises(ConfigError, match="gamma > 0, not 64 and 0.0"):
        LearnableFourier(gamma=0.0)

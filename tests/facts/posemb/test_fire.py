import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.fire import FIRE, share


def at(*positions):
    return Places(jnp.array(positions)[None, :, None])


def shares(*positions, c=0.5, length=8.0):
    pos = jnp.array([positions])
    return np.asarray(share(pos, pos, jnp.asarray(c), jnp.asarray(length)))[0]


def psi(x, c=0.5):
    return math.log(c * x + 1)


def test_shares_by_hand():
    """Up to L = 8 the whole is L; from there on the query's own position. (The paper's formula, for keys before the query.)"""
    positions, whole = (0, 3, 8, 20), (8, 8, 8, 20)
    found = shares(*positions)
    for i, q in enumerate(positions):
        for j, k in enumerate(positions[: i + 1]):
            assert found[i, j] == pytest.approx(psi(q - k) / psi(whole[i]), rel=1e-5), (q, k)
    assert found[2, 0] == pytest.approx(1, rel=1e-5) and found[3, 0] == pytest.approx(1, rel=1e-5)


def test_keys_ahead_are_the_mirror_image():
    found = shares(0, 3, 8, 20)
    np.testing.assert_allclose(found, -found.T, rtol=1e-6)


def test_the_sign_of_c_and_length_is_of_no_account_and_c_may_be_0():
    np.testing.assert_array_equal(shares(0, 6, c=-0.5, length=-8.0), shares(0, 6))
    assert np.isfinite(shares(0, 6, c=0.0)).all()


def test_bias_is_the_networks_value_at_the_share(key):
    module, pos = FIRE(hidden=4), at(5, 2, 700)
    params = module.init(key, pos, pos, 3, method="bias")["params"]
    assert float(params["c"]) == pytest.approx(0.1) and float(params["stretch"]) == 1
    assert params["up"]["kernel"].shape == (1, 4) and params["down"]["kernel"].shape == (4, 3)
    params["stretch"] = jnp.array(2.0)  # L is 1024
    params["up"]["bias"] = jnp.array([0.5, -0.1, 0.2, 0.0])
    params["down"]["bias"] = jnp.array([1.0, 2.0, 3.0])
    bias = np.asarray(module.apply({"params": params}, pos, pos, 3, method="bias"))
    s = psi(695, 0.1) / psi(1024, 0.1)  # the query at 700, the key at 5
    middle = np.maximum(s * np.asarray(params["up"]["kernel"])[0] + np.asarray(params["up"]["bias"]), 0)
    np.testing.assert_allclose(bias[0, :, 2, 0], middle @ np.asarray(params["down"]["kernel"]) + [1, 2, 3], rtol=1e-4)


@pytest.mark.parametrize("fields", [{"hidden": 0}, {"length": 0.0}, {"c": -1.0}])
def test_wrong_fields_are_named(fields):
    with pytest.raises(ConfigError, match="FIRE needs hidden >= 1, length > 0 and c > 0, not"):
        FIRE(**fields)


def test_positions_on_a_grid_are_refused(key):
    pos = Places(jnp.zeros((1, 3, 2), jnp.int32))
    with pytest.raises(ConfigError, match="positions of 2 numbers; it is for sequences"):
        FIRE().init(key, pos, pos, 2, method="bias")

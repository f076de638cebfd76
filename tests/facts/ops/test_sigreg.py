"""Unit facts of the method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError
from jaxemb.ops.sigreg import epps_pulley, random_directions, sigreg


def gaussian(*shape, seed=0):
    return normal(seed, *shape)


A = random_directions(jax.random.key(1), 6, 32)


def test_directions_have_unit_length():
    np.testing.assert_allclose(jnp.square(A).sum(0), 1, rtol=1e-6)


def test_all_zeros_cost_in_proportion_to_their_number():
    for n in (5, 40):
        assert float(sigreg(jnp.zeros((n, 6)), A)) == pytest.approx(0.402048 * n, rel=1e-5)


def test_expectation_of_normal_samples_does_not_depend_on_their_number():
    for n in (1, 8, 64):
        x = gaussian(n, 20_000, seed=n)  # a column is a sample of n numbers
        assert float(epps_pulley(x).mean()) == pytest.approx(1.052464, rel=0.04)


def test_order_and_sign_do_not_matter_and_scale_does():
    z = gaussian(24, 6)
    value = float(sigreg(z, A))
    assert float(sigreg(z[::-1], A)) == pytest.approx(value, rel=1e-4)
    assert float(sigreg(-z, A)) == pytest.approx(value, rel=1e-4)
    assert float(sigreg(3 * z, A)) > 2 * value and float(sigreg(0.3 * z, A)) > 2 * value


def test_rows_of_weight_zero_are_not_there():
    z = gaussian(12, 6)
    padded = jnp.concatenate([z, jnp.full((4, 6), 9.0)])
    weight = jnp.arange(16) < 12
    assert float(sigreg(padded, A, weight=weight.astype(jnp.float32))) == pytest.approx(float(sigreg(z, A)), rel=1e-5)
    assert float(sigreg(padded, A, weight=jnp.zeros(16))) == 0


def test_half_precision_is_computed_in_single():
    z = gaussian(24, 6)
    half = sigreg(z.astype(jnp.bfloat16), A)
    assert half.dtype == jnp.float32
    assert float(half) == pytest.approx(float(sigreg(z.astype(jnp.bfloat16).astype(jnp.float32), A)), rel=1e-6)


def test_rows_of_all_devices_count():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    z = gaussian(32, 6)
    spread = jax.device_put(z, NamedSharding(mesh, P("data")))
    value, g = jax.jit(jax.value_and_grad(lambda z: sigreg(z, A)))(spread)
    expected, g_expected = jax.value_and_grad(lambda z: sigreg(z, A))(z)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(g, g_expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("fields", "message"), [({"t_max": 0.0}, "t_max must be above 0"), ({"points": 1}, "points must be")])
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        epps_pulley(jnp.zeros((2, 2)), **fields)

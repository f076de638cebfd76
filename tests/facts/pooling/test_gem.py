import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.pooling.gem import GeM
from jaxemb.types import Features

F = Features(
    jnp.array([[[1.0, 2.0], [3.0, -6.0], [99.0, 99.0]]]), jnp.array([[True, True, False]]), prefix=jnp.full((1, 1, 2), 50.0)
)


def pooled(f, p):
    return np.asarray(GeM().apply({"params": {"above": jnp.log(p - 1.0)}}, f))


def test_powers_by_hand():
    """Valid tokens alone; what is negative counts as eps."""
    np.testing.assert_allclose(pooled(F, 3.0), [[14 ** (1 / 3), 4 ** (1 / 3)]], rtol=1e-5)
    np.testing.assert_allclose(pooled(F, 2.0), [[5**0.5, 2**0.5]], rtol=1e-5)


def test_from_the_mean_to_the_maximum():
    np.testing.assert_allclose(pooled(F, 1 + 1e-7), [[2.0, 1.0]], rtol=1e-4)
    np.testing.assert_allclose(pooled(F, 2000.0), [[3.0, 2.0]], rtol=1e-3)  # 3^2000 is beyond all floats


def test_starts_at_p_and_trains_it(key):
    params = GeM(p=2.5).init(key, F)
    assert float(params["params"]["above"]) == pytest.approx(np.log(1.5))
    slope = jax.grad(lambda params: GeM().apply(params, F).sum())(params)["params"]["above"]
    assert float(slope) > 0  # a larger p is nearer to the maximum


def test_all_padding_is_zero_and_its_gradient_finite(key):
    f = F._replace(mask=jnp.zeros((1, 3), bool))
    params = GeM().init(key, f)
    np.testing.assert_array_equal(GeM().apply(params, f), np.zeros((1, 2)))
    for g in jax.tree.leaves(jax.grad(lambda *x: GeM().apply(x[0], f._replace(tokens=x[1])).sum(), (0, 1))(params, f.tokens)):
        np.testing.assert_array_equal(g, np.zeros_like(g))


@pytest.mark.parametrize("fields", [{"p": 1.0}, {"eps": 0.0}])
def test_wrong_fields_are_named(fields):
    with pytest.raises(ConfigError, match="GeM needs p > 1 and eps > 0, not"):
        GeM(**fields)

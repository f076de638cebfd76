import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.global_orthogonal import GlobalOrthogonal


def test_orthogonal_rows_cost_nothing_and_equal_ones_the_most():
    assert float(call(GlobalOrthogonal(), jnp.eye(4), jnp.eye(4)).value) == 0
    same = jnp.ones((3, 4))
    assert float(call(GlobalOrthogonal(2.0, 1.0), same, same).value) == pytest.approx(2 + 1 - 1 / 4, rel=1e-5)
    assert float(call(GlobalOrthogonal(2.0, 1.0, "sum"), same, jnp.eye(3, 4)).value) == pytest.approx(2 + 1 - 1 / 4, rel=1e-5)


def test_one_row_has_no_other():
    assert float(call(GlobalOrthogonal(), jnp.ones((1, 4)), jnp.ones((1, 4))).value) == 0


def test_padding_is_in_no_moment():
    q = normal(0, 4, 5)
    padded = call(GlobalOrthogonal(), q, q, weights=jnp.asarray([1.0, 1.0, 1.0, 0.0])).value
    np.testing.assert_allclose(padded, call(GlobalOrthogonal(), q[:3], q[:3]).value, rtol=1e-5)


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="GlobalOrthogonal: mean_weight must not be negative, is -1"):
        GlobalOrthogonal(-1.0)
    with pytest.raises(ConfigError, match="reduce='max'.*mean, sum"):
        GlobalOrthogonal(reduce="max")

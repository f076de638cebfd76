import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.distance import DISTANCES
from jaxemb.contrastive.triplet import Triplet

Q = jnp.zeros((2, 1))
C = jnp.asarray(np.array([[1.0], [2.0], [1.5], [9.0], [2.5]], np.float32))


def test_every_hard_negative_counts_and_a_query_without_one_does_not():
    own = jnp.asarray(np.array([[2, 3], [4, -1]]))
    loss = Triplet(1.0, "euclidean")
    out = call(loss, Q, C, known=Known(own=own))  # 1 - 1.5 + 1, 1 - 9 + 1, 2 - 2.5 + 1
    assert float(out.value) == pytest.approx((0.5 + 0 + 0.5) / 3) and float(out.logs["accuracy"]) == 1
    alone = call(loss, Q, C, known=Known(own=own.at[1].set(-1)))
    assert float(alone.value) == pytest.approx(0.25)
    assert float(call(loss, Q, C, known=Known(own=jnp.full((2, 2), -1))).value) == 0


def test_a_positive_is_never_its_own_negative():
    """The positive drawn again as its own negative, of ms-swift."""
    own = jnp.asarray(np.array([[0, 2], [4, -1]]))
    assert float(call(Triplet(1.0, "euclidean"), Q, C, known=Known(own=own)).value) == pytest.approx(0.5)


def test_without_negatives_it_is_refused_and_no_constant_zero():
    """Triplets without negatives that train on 0, of EasyDeL."""
    with pytest.raises(ConfigError, match=r"Triplet needs known.own.*data with hard negatives"):
        Triplet()(Q, C)


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_and_zero_rows_have_a_finite_gradient(kind):
    q = normal(0, 3, 4).at[1].set(0)
    own = jnp.asarray(np.array([[3], [4], [5]]))
    grad = jax.jit(jax.grad(lambda x: Triplet(0.2, kind)(x, jnp.concatenate([x, x]), known=Known(own=own)).value))(q)
    assert np.isfinite(grad).all()


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="Triplet: margin must not be negative, is -1"):
        Triplet(-1.0)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.cosent import CoSENT
from jaxemb.contrastive.cosine_mse import CosineMSE
from jaxemb.contrastive.graded import own_rows
from jaxemb.contrastive.hadsell import Hadsell, OnlineContrastive
from jaxemb.contrastive.hiprbert import HiPrBERT

Q, P = normal(0, 4, 6), normal(1, 4, 6)
SCORED = [CosineMSE("sigmoid"), Hadsell(), OnlineContrastive(), HiPrBERT(), HiPrBERT("clogit")]


@pytest.mark.parametrize("loss", SCORED, ids=str)
@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_a_score_outside_its_range_is_named_and_where_it_is_not_known_the_loss_is_nan(loss, wrong):
    known, weights = Known(scores=jnp.asarray([0.0, 1.0, wrong, 0.5])), jnp.ones(4)
    with pytest.raises(ConfigError, match=f"{type(loss).__name__}: known.scores must lie in 0 to 1, and one is {wrong:g}"):
        loss(Q, P, known=known)
    jitted = jax.jit(lambda known, weights: loss(Q, P, weights=weights, known=known).value)
    assert np.isnan(jitted(known, weights)) and np.isfinite(jitted(known, weights.at[2].set(0)))


def test_cosent_takes_scores_of_any_range_but_none_that_are_no_numbers():
    assert np.isfinite(call(CoSENT(), Q, P, known=Known(scores=jnp.asarray([0.0, 5.0, -3.0, 1.0]))).value)
    with pytest.raises(ConfigError, match="known.scores must lie in -inf to inf, and one is nan"):
        CoSENT()(Q, P, known=Known(scores=jnp.asarray([0.0, jnp.nan, 1.0, 1.0])))


def test_own_rows_are_those_that_are_there_kept_and_not_the_positive():
    c, own = normal(2, 6, 3), jnp.asarray(np.array([[4, -1], [1, 5], [3, 5], [4, 4]]))
    keep = jnp.ones((4, 6), bool).at[2, 5].set(False)
    n, there = own_rows(c, own, None, keep)
    np.testing.assert_array_equal(there, [[True, False], [False, True], [True, False], [True, True]])
    np.testing.assert_array_equal(n[0], np.stack([c[4], np.zeros(3)]))

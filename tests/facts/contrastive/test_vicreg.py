import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import VICRegLoss
from jaxemb.contrastive.vicreg import covariance, variance

ROWS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


def test_terms_by_hand():
    c = np.cov(ROWS, rowvar=False)
    z, ones = jnp.asarray(ROWS), jnp.ones(7)
    assert float(variance(z, ones)) == pytest.approx(np.maximum(0, 1 - np.sqrt(np.diag(c) + 1e-4)).mean(), rel=1e-5)
    assert float(covariance(z, ones)) == pytest.approx((np.square(c).sum() - np.square(np.diag(c)).sum()) / 4, rel=1e-5)


def test_collapse_costs_variance_and_copies_cost_covariance():
    assert float(variance(jnp.ones((6, 3)), jnp.ones(6))) == pytest.approx(0.99)
    z = normal(0, 6, 1)
    var = float(z.var(ddof=1))
    assert float(covariance(jnp.broadcast_to(z, (6, 3)), jnp.ones(6))) == pytest.approx(2 * var**2, rel=1e-5)
    assert float(variance(100 * normal(1, 50, 3), jnp.ones(50))) == 0


def test_loss_is_the_weighted_sum_over_the_pairs():
    y = jnp.asarray(ROWS[::-1] * 2 + 1)
    out = call(VICRegLoss(2.0, 3.0, 5.0), jnp.asarray(ROWS), y, positives=jnp.arange(7)[::-1])
    expected = np.dot([2, 3, 5], [float(out.logs[k]) for k in ("invariance", "variance", "covariance")])
    assert float(out.value) == pytest.approx(expected, rel=1e-5)
    assert float(out.logs["invariance"]) == pytest.approx(float(np.square(ROWS + 1).mean()), rel=1e-5)  # y_p = 2 x + 1


def test_a_weight_says_how_often_a_pair_counts():
    x, y = jnp.asarray(ROWS), jnp.asarray(ROWS[:, ::-1])
    weights = jnp.array([0.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    often = jnp.array([1, 2, 2, 3, 4, 5, 6])
    assert float(call(VICRegLoss(), x, y, weights=weights).value) == pytest.approx(
        float(call(VICRegLoss(), x[often], y[often]).value), rel=1e-5
    )


def test_a_negative_weight_is_named():
    with pytest.raises(ConfigError, match="VICRegLoss: variance_weight must not be negative, is -1.0"):
        VICRegLoss(variance_weight=-1.0)

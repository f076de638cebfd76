import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.multi_similarity import MultiSimilarity


def known(*labels):
    return Known(labels=jnp.asarray(labels[0]), candidate_labels=jnp.asarray(labels[-1]))


def test_one_positive_at_the_base_and_the_mined_pairs_by_hand():
    q, c = jnp.asarray([[1.0, 0.0]]), jnp.asarray([[0.5, np.sqrt(0.75)], [0.9, np.sqrt(0.19)], [-1.0, 0.0]], jnp.float32)
    out = MultiSimilarity(2.0, 3.0)(q, c, known=known([0], [0, 1, 1]))  # cosines .5, .9 and -1, which is too far to be mined
    assert float(out.value) == pytest.approx(np.log(2) / 2 + np.log1p(np.exp(3 * 0.4)) / 3, rel=1e-5)


def test_an_easy_anchor_and_a_group_of_one_member_add_nothing():
    far = jnp.asarray([[1.0, 0.0], [-1.0, 0.0]])
    assert float(MultiSimilarity()(far, far, known=known([0, 1])).value) == 0, "the positive is nearer than all others"
    x = normal(0, 3, 4)
    value, grad = jax.value_and_grad(lambda x: MultiSimilarity(themselves=True)(x, x, known=known([0, 1, 2])).value)(x)
    assert float(value) == 0 and (np.asarray(grad) == 0).all()


def test_equal_and_zero_rows_have_a_finite_gradient():
    x = jnp.concatenate([normal(0, 3, 4), normal(0, 3, 4), jnp.zeros((2, 4))])
    labels = known([0, 0, 1, 1, 0, 1, 0, 1])
    assert np.isfinite(jax.grad(lambda x: MultiSimilarity(themselves=True)(x, x, known=labels).value)(x)).all()


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="MultiSimilarity: beta must be above 0, is 0"):
        MultiSimilarity(beta=0.0)
    with pytest.raises(ConfigError, match="MultiSimilarity: epsilon must not be negative, is -1"):
        MultiSimilarity(epsilon=-1.0)

import jax
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.multi_similarity import MultiSimilarity


def known(*labels):
    return Known(labels=np.asarray(labels[0], np.int32), candidate_labels=np.asarray(labels[-1], np.int32))


def slope(x, known):
    """(loss, gradient) of rows beside themselves."""
    return jax.jit(jax.value_and_grad(lambda x: MultiSimilarity(themselves=True)(x, x, known=known).value))(x)


def test_one_positive_at_the_base_and_the_mined_pairs_by_hand():
    q = np.array([[1.0, 0.0]], np.float32)
    c = np.array([[0.5, np.sqrt(0.75)], [0.9, np.sqrt(0.19)], [-1.0, 0.0]], np.float32)
    out = call(MultiSimilarity(2.0, 3.0), q, c, known=known([0], [0, 1, 1]))  # cosines .5, .9 and -1, which is too far to be mined
    assert float(out.value) == pytest.approx(np.log(2) / 2 + np.log1p(np.exp(3 * 0.4)) / 3, rel=1e-5)


def test_an_easy_anchor_and_a_group_of_one_member_add_nothing():
    far = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    assert float(call(MultiSimilarity(), far, far, known=known([0, 1])).value) == 0, "the positive is nearer than all others"
    value, grad = slope(normal(0, 3, 4), known([0, 1, 2]))
    assert float(value) == 0 and (np.asarray(grad) == 0).all()


def test_equal_and_zero_rows_have_a_finite_gradient():
    x = np.concatenate([normal(0, 3, 4), normal(0, 3, 4), np.zeros((2, 4), np.float32)])
    assert np.isfinite(slope(x, known([0, 0, 1, 1, 0, 1, 0, 1]))[1]).all()


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="MultiSimilarity: beta must be above 0, is 0"):
        MultiSimilarity(beta=0.0)
    with pytest.raises(ConfigError, match="MultiSimilarity: epsilon must not be negative, is -1"):
        MultiSimilarity(epsilon=-1.0)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.cosent import CoSENT

Q, P = normal(0, 4, 6), normal(1, 4, 6)
SCORES = np.array([0.2, 0.9, 0.2, 0.5], np.float32)


def by_hand(s, y, t):
    return np.log1p(sum(np.exp((s[j] - s[i]) / t) for i in range(len(y)) for j in range(len(y)) if y[i] > y[j]))


def test_loss_by_hand_and_padding_is_compared_with_nothing():
    s = (np.asarray(Q) * np.asarray(P)).sum(1)
    known = Known(scores=jnp.asarray(SCORES))
    assert float(call(CoSENT(2.0, "dot"), Q, P, known=known).value) == pytest.approx(by_hand(s, SCORES, 2), rel=1e-5)
    padded = call(CoSENT(2.0, "dot"), Q, P, weights=jnp.asarray([1.0, 1.0, 1.0, 0.0]), known=known)
    assert float(padded.value) == pytest.approx(by_hand(s[:3], SCORES[:3], 2), rel=1e-5)
    assert float(call(CoSENT(), Q, P, known=Known(scores=jnp.ones(4))).value) == 0, "equal scores are not compared"


def test_a_pair_that_counts_twice_is_there_twice():
    s = (np.asarray(Q) * np.asarray(P)).sum(1)
    twice = call(CoSENT(2.0, "dot"), Q, P, weights=jnp.asarray([2.0, 1.0, 1.0, 1.0]), known=Known(scores=jnp.asarray(SCORES)))
    assert float(twice.value) == pytest.approx(by_hand(np.append(s, s[0]), np.append(SCORES, SCORES[0]), 2), rel=1e-5)


def test_pairs_of_positives_and_own_negatives_some_of_which_lack():
    c, own = normal(2, 7, 6), jnp.asarray(np.array([[4, 5], [6, -1], [-1, -1], [5, 6]]))
    s = np.asarray(Q) @ np.asarray(c).T
    pairs = [*((s[i, i], 1) for i in range(4)), *((s[i, j], 0) for i, row in enumerate(np.asarray(own)) for j in row if j >= 0)]
    expected = by_hand(*map(np.asarray, zip(*pairs, strict=True)), 3)
    assert float(call(CoSENT(3.0, "dot", negatives=True), Q, c, known=Known(own=own)).value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_equal_and_zero_rows_have_a_finite_gradient(similarity):
    q = Q.at[1].set(0)
    grad = jax.jit(jax.grad(lambda x: CoSENT(0.01, similarity)(x, q, known=Known(scores=jnp.asarray(SCORES))).value))(q)
    assert np.isfinite(grad).all()


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="CoSENT: temperature must be above 0, is 0"):
        CoSENT(0.0)
    with pytest.raises(ConfigError, match="similarity='manhattan'.*cosine, dot, euclidean"):
        CoSENT(similarity="manhattan")
    with pytest.raises(ConfigError, match=r"CoSENT needs known.scores.*scored pairs"):
        CoSENT()(Q, P)
    with pytest.raises(ConfigError, match=r"CoSENT needs known.own.*hard negatives"):
        CoSENT(negatives=True)(Q, P)

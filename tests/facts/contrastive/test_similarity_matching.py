import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.similarity_matching import SimilarityMatching

Q, C, GQ, GC = (normal(i, n, w) for i, (n, w) in enumerate(((3, 4), (5, 4), (3, 6), (5, 6))))
KNOWN = Known(guide=(GQ, GC))


def cosines(a, b):
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    return a @ b.T / np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1)


def test_loss_by_hand_over_what_is_kept():
    keep = np.ones((3, 5), bool)
    keep[0, 3] = keep[1, 1] = False  # the second is a positive, and counts all the same
    there = keep | np.eye(3, 5, dtype=bool)
    s, g = cosines(Q, C), cosines(GQ, GC)
    log_s, log_g = (x / 0.5 - np.log((there * np.exp(x / 0.5)).sum(1, keepdims=True)) for x in (s, g))
    kl = np.where(there, np.exp(log_g) * (log_g - log_s), 0).sum(1)
    square = (there * (s - g) ** 2).sum(1) / there.sum(1)
    out = call(SimilarityMatching(0.5, 3.0), Q, C, keep=jnp.asarray(keep), known=KNOWN)
    assert float(out.value) == pytest.approx((kl + 3 * square).mean(), rel=1e-5)
    assert float(out.logs["square"]) == pytest.approx(square.mean(), rel=1e-5)


def test_rows_that_are_alike_as_those_of_the_guide_cost_nothing():
    assert float(call(SimilarityMatching(), 2 * GQ, GC, known=KNOWN).value) == pytest.approx(0, abs=1e-5)


def test_what_is_missing_or_out_of_range():
    with pytest.raises(ConfigError, match="SimilarityMatching needs known.guide"):
        SimilarityMatching()(Q, C)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        SimilarityMatching(0.0)
    with pytest.raises(ConfigError, match="square must not be negative"):
        SimilarityMatching(square=-1.0)

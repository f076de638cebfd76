from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.hiprbert import HiPrBERT


@partial(jax.jit, static_argnames=("beta", "form"))
def both(c, w, **fields):
    def value(c):
        c = jnp.atleast_1d(c)
        p = jnp.stack([c, jnp.sqrt(1 - c**2)], axis=1)
        q = jnp.broadcast_to(jnp.asarray([1.0, 0.0]), p.shape)
        return HiPrBERT(**fields)(q, p, known=Known(scores=jnp.atleast_1d(w))).value

    return jax.value_and_grad(value)(c)


def at(c, w, **fields):
    """(the loss, its gradient) of pairs of given cosines and scores."""
    return both(np.asarray(c, np.float32), np.asarray(w, np.float32), **fields)


def loss(c, w, **fields):
    return float(at(c, w, **fields)[0])


def slope(c, w):
    return float(at(c, w)[1])


def test_at_the_base_all_scores_cost_the_same():
    for w in (1.0, 0.81, 0.0):
        assert loss(0.5, w) == pytest.approx(np.log(2) / 2, rel=1e-5)
    assert loss(0.5, 0.81, beta=50.0) == pytest.approx(0.81 * np.log(2) / 2 + 0.19 * np.log(2) / 50, rel=1e-5)


def test_the_best_cosine_follows_from_the_score():
    for w, best in ((0.5, 0.5), (0.6561, 0.5 + 0.5 * np.log(0.6561 / 0.3439))):
        assert slope(best, w) == pytest.approx(0, abs=1e-5) and slope(best - 0.05, w) < 0 < slope(best + 0.05, w)
    assert all(slope(c, 1.0) < 0 < slope(c, 0.0) for c in (-0.5, 0.5, 0.9)), "1 only attracts, 0 only repels"


def test_levels_by_conditional_logits():
    assert loss([0.3, 0.3], [1.0, 0.81], form="clogit") == pytest.approx(np.log(0.5), rel=1e-5)
    assert loss([0.9, 0.1], [1.0, 0.81], form="clogit") < loss([0.1, 0.9], [1.0, 0.81], form="clogit")


def test_levels_without_pairs_are_left_out_and_not_nan():
    value, grad = at([0.3, 0.5], [1.0, 1.0], form="clogit")
    assert float(value) == 0 and (np.asarray(grad) == 0).all()


@pytest.mark.parametrize("form", ["weighted", "clogit"])
def test_equal_and_zero_rows_have_a_finite_gradient(form):
    q = normal(0, 3, 4) * np.array([[1], [0], [1]], np.float32)
    known = Known(scores=jnp.asarray([1.0, 0.81, 0.0]))
    assert np.isfinite(jax.jit(jax.grad(lambda x: HiPrBERT(form)(x, q, known=known).value))(q)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"form": "tree"}, "form='tree'.*clogit, weighted"),
        ({"alpha": 0.0}, "HiPrBERT: alpha must be above 0, is 0.0"),
        ({"levels": (0.5, 0.9)}, r"HiPrBERT.levels=\(0.5, 0.9\): two or more falling weights of 1 to 0"),
        ({"levels": (1.0,)}, "two or more"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        HiPrBERT(**fields)


def test_padding_counts_in_neither_form():
    q, p = normal(0, 4, 3), normal(1, 4, 3)
    known = Known(scores=jnp.asarray([1.0, 0.81, 0.6561, 0.81]))
    less = Known(scores=known.scores[:3])
    for form in ("weighted", "clogit"):
        padded = HiPrBERT(form)(q, p, weights=jnp.asarray([1.0, 1.0, 1.0, 0.0]), known=known).value
        assert float(padded) == pytest.approx(float(HiPrBERT(form)(q[:3], p[:3], known=less).value), rel=1e-6)

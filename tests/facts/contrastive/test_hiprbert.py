import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.hiprbert import HiPrBERT


def at(c, w, **fields):
    """The loss of pairs of given cosines and scores."""
    c = jnp.atleast_1d(jnp.asarray(c, jnp.float32))
    p = jnp.stack([c, jnp.sqrt(1 - c**2)], axis=1)
    q = jnp.broadcast_to(jnp.asarray([1.0, 0.0]), p.shape)
    return HiPrBERT(**fields)(q, p, known=Known(scores=jnp.atleast_1d(jnp.asarray(w, jnp.float32)))).value


def test_at_the_base_all_scores_cost_the_same():
    for w in (1.0, 0.81, 0.0):
        assert float(at(0.5, w)) == pytest.approx(np.log(2) / 2, rel=1e-5)
    assert float(at(0.5, 0.81, beta=50.0)) == pytest.approx(0.81 * np.log(2) / 2 + 0.19 * np.log(2) / 50, rel=1e-5)


def test_the_best_cosine_follows_from_the_score():
    slope = jax.grad(at)
    for w, best in ((0.5, 0.5), (0.6561, 0.5 + 0.5 * np.log(0.6561 / 0.3439))):
        assert float(slope(best, w)) == pytest.approx(0, abs=1e-5) and float(slope(best - 0.05, w)) < 0 < float(
            slope(best + 0.05, w)
        )
    assert all(float(slope(c, 1.0)) < 0 < float(slope(c, 0.0)) for c in (-0.5, 0.5, 0.9)), "1 only attracts, 0 only repels"


def test_levels_by_conditional_logits():
    assert float(at([0.3, 0.3], [1.0, 0.81], form="clogit")) == pytest.approx(np.log(0.5), rel=1e-5)
    assert float(at([0.9, 0.1], [1.0, 0.81], form="clogit")) < float(at([0.1, 0.9], [1.0, 0.81], form="clogit"))


def test_levels_without_pairs_are_left_out_and_not_nan():
    value, grad = jax.value_and_grad(at)(jnp.asarray([0.3, 0.5]), [1.0, 1.0], form="clogit")
    assert float(value) == 0 and (np.asarray(grad) == 0).all()


@pytest.mark.parametrize("form", ["weighted", "clogit"])
def test_equal_and_zero_rows_have_a_finite_gradient(form):
    q = normal(0, 3, 4).at[1].set(0)
    known = Known(scores=jnp.asarray([1.0, 0.81, 0.0]))
    assert np.isfinite(jax.grad(lambda x: HiPrBERT(form)(x, q, known=known).value)(q)).all()


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

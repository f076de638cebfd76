import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.gist import GIST

Q, C = normal(0, 3, 4), normal(1, 6, 4)
PLAIN = {"queries": False, "positives": False}


def at(*cosines):
    """Unit vectors of the plane at these cosines to the first axis."""
    c = np.asarray(cosines)
    return jnp.asarray(np.stack([c, np.sqrt(1 - c**2)], 1), jnp.float32)


def test_a_guide_that_finds_nothing_closer_than_the_positives_leaves_all():
    guide = jnp.eye(6)[:3], jnp.eye(6)
    plain = call(InfoNCE(0.05), Q, C)
    out = call(GIST(0.05, **PLAIN), Q, C, known=Known(guide=guide))
    assert float(out.value) == pytest.approx(float(plain.value), rel=1e-6) and float(out.logs["removed"]) == 0
    joint = call(InfoNCE(0.05, directions=("q2d", "q2q", "d2d")), Q, C[:3])
    assert float(call(GIST(0.05), Q, C[:3], known=Known(guide=(guide[0], guide[0]))).value) == pytest.approx(
        float(joint.value), rel=1e-6
    )


def test_a_guide_that_finds_all_closer_leaves_the_positive_alone():
    known = Known(guide=(at(1.0), at(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))
    value, gradient = jax.jit(jax.value_and_grad(lambda q: GIST(0.05, **PLAIN)(q, C, known=known).value))(Q[:1])
    assert float(value) == pytest.approx(0, abs=1e-6) and np.abs(gradient).max() < 1e-6


def test_worked_example():
    """Two pairs at temperature 1; the second guide takes the one negative of the first query out."""
    s = np.asarray([[0.5, 0.1], [0.2, 0.6]])
    c = np.concatenate([s.T, np.sqrt(1 - (s**2).sum(0))[:, None]], 1)  # unit rows, whose products with the axes these are
    for first, expected in ((0.8, 0.51302), (0.6, 0.25651)):
        guide = jnp.eye(2, 3), jnp.asarray([[first, 0.0, (1 - first**2) ** 0.5], [0.7, 0.714, 0.0]])
        out = call(GIST(1.0, **PLAIN), jnp.eye(2, 3), jnp.asarray(c, jnp.float32), known=Known(guide=guide))
        assert float(out.value) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "margin", "gone"), [("absolute", 0.0, [0.6]), ("absolute", 0.15, [0.6, 0.4]), ("relative", 0.25, [0.6, 0.4])]
)
def test_margins(kind, margin, gone):
    """The positive is at .5 of the query; below it are .4 and .3."""
    known = Known(guide=(at(1.0), at(0.5, 0.6, 0.4, 0.3)))
    out = call(GIST(1.0, margin, kind, **PLAIN), Q[:1], C[:4], known=known)
    assert float(out.logs["removed"]) == pytest.approx(len(gone) / 4)


def test_a_relative_margin_of_a_negative_score_lowers_the_threshold():
    """sentence-transformers #3821: the positive at -.5, a negative at -.49 is closer, and one at -.52 within 5 % of it."""
    known = Known(guide=(at(1.0), at(-0.5, -0.49, -0.52, -0.8)))
    out = call(GIST(1.0, 0.05, "relative", **PLAIN), Q[:1], C[:4], known=known)
    assert float(out.logs["removed"]) == pytest.approx(2 / 4)


def test_the_order_of_positives_and_negatives_does_not_matter():
    """sentence-transformers #3453: what was gathered as P N N P N N was read as P P N N N N."""
    guide = normal(2, 3, 4), normal(3, 6, 4)
    own = jnp.asarray(np.array([[3], [4], [5]]))
    apart = call(GIST(0.1), Q, C, known=Known(guide=guide, own=own))
    order = np.array([0, 3, 1, 4, 2, 5])  # P N P N P N
    mixed = Known(guide=(guide[0], guide[1][order]), own=own)
    together = call(GIST(0.1), Q, C[order], jnp.asarray(np.array([0, 2, 4])), known=mixed)
    assert float(apart.value) == pytest.approx(float(together.value), rel=1e-6) and float(apart.logs["removed"]) > 0


def test_the_guide_has_no_say_about_curated_negatives_where_they_are_spared():
    """ms-swift #6969: the mask of false negatives hit hard negatives that somebody had chosen."""
    known = Known(guide=(at(1.0), at(0.5, 0.6, 0.7)), own=jnp.asarray(np.array([[2, -1]])))
    removed = [float(call(GIST(1.0, spare_own=s, **PLAIN), Q[:1], C[:3], known=known).logs["removed"]) for s in (False, True)]
    assert removed == pytest.approx([2 / 3, 1 / 3])
    with pytest.raises(ConfigError, match="GIST needs known.own"):
        GIST(spare_own=True)(Q[:1], C[:3], known=known._replace(own=None))


def test_no_gradient_reaches_the_guide():
    def value(guide):
        return call(GIST(0.1), Q, C, known=Known(guide=guide)).value

    assert all((g == 0).all() for g in jax.jit(jax.grad(value))((normal(2, 3, 4), normal(3, 6, 4))))


def test_a_row_that_stands_twice_is_no_negative_of_itself_whatever_the_guide_rounds():
    """Queries that equal their positives have a cosine of 1, than which that of a row with itself is no larger."""
    same = jnp.ones((2, 3))
    out = call(GIST(0.1), jnp.eye(2, 3), jnp.eye(2, 3), known=Known(guide=(same, same)))
    assert float(out.value) == pytest.approx(
        float(call(InfoNCE(0.1, directions=("q2d", "q2q", "d2d")), jnp.eye(2, 3), jnp.eye(2, 3)).value)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1.0}, "GIST: temperature must be above 0, is -1.0"),
        ({"margin": -0.1}, "GIST: margin must not be negative, is -0.1"),
        ({"margin_kind": "percent"}, "margin_kind='percent'.*absolute, relative"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        GIST(**fields)


def test_a_guide_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="GIST needs known.guide, which is not given; it comes from a guide model"):
        GIST()(Q, C)

import jax
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.labelled_triplets import LabelledTriplets

X = np.array([[0.0], [1.0], [3.0], [3.5]], np.float32)
MINED = [{"mining": "all"}, {"mining": "hard"}, {"mining": "semi_hard"}, {"mining": "hard", "margin": None}]


def of(x, labels, **fields):
    labels = np.asarray(labels, np.int32)
    loss = LabelledTriplets(**{"distance": "euclidean", "margin": 3.0, "themselves": True} | fields)
    return call(loss, x, x, known=Known(labels=labels, candidate_labels=labels)).value


def slope(x, labels, **fields):
    return jax.jit(jax.value_and_grad(lambda x: of(x, labels, **fields)))(x)


def test_minings_by_hand():
    # d(0,1)=1 d(2,3)=.5; negatives: 0: 3, 3.5; 1: 2, 2.5; 2: 3, 2; 3: 3.5, 2.5
    labels = [0, 0, 1, 1]
    every = [1 - 3, 1 - 3.5, 1 - 2, 1 - 2.5, 0.5 - 3, 0.5 - 2, 0.5 - 3.5, 0.5 - 2.5]
    above = [x + 3 for x in every if x > -3]
    assert float(of(X, labels, mining="all")) == pytest.approx(sum(above) / len(above))
    nearest = [1 - 3, 1 - 2, 0.5 - 2, 0.5 - 2.5]
    assert float(of(X, labels)) == pytest.approx(np.mean(nearest) + 3)
    assert float(of(X, labels, mining="semi_hard")) == pytest.approx(np.mean(nearest) + 3), "all are beyond the positive"
    assert float(of(X, labels, margin=None)) == pytest.approx(np.log1p(np.exp(nearest)).mean(), rel=1e-5)


def test_where_no_negative_is_beyond_the_positive_the_farthest_is_taken():
    x = np.array([[0.0], [9.0], [1.0], [2.0]], np.float32)
    expected = [9 - 2 + 3, 9 - 8 + 3]  # of 0 and of 9
    assert float(of(x, [0, 0, 1, 2], mining="semi_hard")) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("fields", MINED, ids=str)
def test_one_class_has_no_negative_and_costs_nothing(fields):
    value, grad = slope(X, [2, 2, 2, 2], **fields)
    assert float(value) == 0 and (np.asarray(grad) == 0).all()


def test_a_group_of_one_member_adds_nothing_but_for_the_hardest():
    x, labels = X[:3], [0, 1, 2]
    assert float(of(x, labels, mining="all")) == float(of(x, labels, mining="semi_hard")) == 0
    assert float(of(x, labels)) == pytest.approx(np.mean([3 - 1, 3 - 1, 3 - 2])), "what is nearest is pushed away"


def test_the_positive_of_a_pair_counts_though_its_group_has_no_other():
    labels = np.arange(2, dtype=np.int32)
    known = Known(labels=labels, candidate_labels=labels)
    loss = LabelledTriplets("semi_hard", 1.0, "euclidean")
    assert float(call(loss, X[:2], X[2:], known=known).value) == pytest.approx((3 - 3.5 + 1 + 0.5 + 2.5 - 2 - 0.5 + 1) / 2)


def test_a_label_below_zero_is_no_group():
    assert float(of(X, [-1, -1, -1, -1], mining="all")) == 0


@pytest.mark.parametrize("fields", MINED, ids=str)
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_equal_and_zero_rows_have_a_finite_gradient(fields, distance):
    x = np.asarray(normal(0, 6, 4))
    x = np.concatenate([x, x[:2], np.zeros((2, 4), np.float32)])
    assert np.isfinite(slope(x, [0, 0, 1, 1, 2, 2, 0, 1, 0, 1], **fields, distance=distance)[1]).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mining": "easy"}, "mining='easy'.*all, hard, semi_hard"),
        ({"margin": -1.0}, "margin must not be negative, is -1.0; None is the soft margin"),
        ({"mining": "all", "margin": None}, "mining='all' counts the triplets above 0, which need a margin"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        LabelledTriplets(**fields)


def test_missing_labels_are_named():
    with pytest.raises(ConfigError, match=r"LabelledTriplets needs known.labels.*data.labelled=True"):
        call(LabelledTriplets(), X, X)

"""AfLite: what it leaves alone, how much it takes, and a planted artefact."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.filter import AfLite, fit, standardised
from jaxemb.preprocess.base import DataError

SMALL = AfLite(size=30, partitions=6, cut=8)


def noise(n=80, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)), rng.integers(0, 2, n)


def separable(n=80):
    x, y = noise(n)
    x[:, 0] = 20 * (2 * y - 1)
    return x, y


def test_a_threshold_that_no_share_reaches_removes_nothing_in_one_round():
    found = AfLite(size=30, partitions=6, cut=8, threshold=1.1)(*separable())
    assert len(found.kept) == 80 and len(found.removed) == 1 and not len(found.removed[0])


def test_no_more_rows_than_a_training_part_are_left_alone():
    found = AfLite(size=80)(*separable())
    np.testing.assert_array_equal(found.kept, np.arange(80))
    assert found.removed == ()


def test_what_is_separable_goes_cut_by_cut_until_the_training_size():
    found = SMALL(*separable())
    rounds = -(-(80 - 30) // 8)
    assert [len(gone) for gone in found.removed] == [8] * rounds
    assert len(found.kept) == 80 - 8 * rounds and 30 - 8 < len(found.kept) <= 30
    assert all(set(s) <= {-1, 0, 1} for s in found.scores)  # 0 of the few that were never predicted
    assert (found.scores[0] == 1).all()
    np.testing.assert_array_equal(found.removed[0], np.flatnonzero(found.scores[0] == 1)[:8])  # of equal ones the first


def test_noise_is_predicted_by_chance_and_stops_at_once():
    """Where a part is small beside the whole: fits to much the same rows are wrong about the same rows."""
    small, large = (AfLite(size=m, partitions=64, cut=3000)(*noise(3000)) for m in (40, 1500))
    assert small.scores[0].mean() == pytest.approx(0.5, abs=0.02)
    assert len(small.removed) == 1 and len(small.removed[0]) < 0.02 * 3000 < 0.1 * 3000 < len(large.removed[0])


def test_planted_rows_go_and_noise_stays():
    x, y = noise(200)
    x[:100, 0] = 6 * (2 * y[:100] - 1)
    found = AfLite(size=80, partitions=10, cut=10)(x, y)
    gone = np.concatenate(found.removed)
    assert (gone < 100).mean() > 0.8 and (found.kept < 100).mean() < 0.2


def test_a_score_is_the_share_of_right_predictions_of_those_not_trained_on():
    x, y = separable(6)
    y = np.array([0, 1, 0, 1, 0, 1])
    x[:, 0] = 20 * (2 * y - 1)
    x[5, 0] *= -1  # always on the wrong side
    lite = AfLite(size=4, partitions=2, cut=1)
    left = np.arange(6)
    scores = lite.scores(x, y, left, iter([np.array([0, 1, 2, 3, 4, 5]), np.array([0, 1, 2, 3, 5, 4])]))
    np.testing.assert_array_equal(scores, [0, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(lite.chosen(scores, left), [4])


def test_one_label_alone_predicts_itself():
    coefficients, intercept = fit(np.ones((3, 2)), np.ones(3, int))
    assert not coefficients.any() and intercept > 0


def test_the_seed_draws_the_partitions():
    one, same, other = (AfLite(size=30, partitions=3, cut=8, seed=s)(*noise()).scores[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (lambda: AfLite(size=1), ConfigError, "AfLite.size"),
        (lambda: AfLite(cut=0), ConfigError, "AfLite.cut"),
        (lambda: AfLite(threshold=float("nan")), ConfigError, "AfLite.threshold=nan"),
        (lambda: AfLite(threshold=-1.0), ConfigError, "AfLite.threshold=-1.0"),
        (lambda: SMALL(noise()[0], noise()[1][:5]), DataError, r"not \(80, 4\) and \(5,\)"),
        (lambda: SMALL(noise()[0], noise()[1] + 1), DataError, r"labels 0 and 1, here are \[1, 2\]"),
        (lambda: SMALL(noise()[0] / [[1, 1, 1, 0.0]], noise()[1]), DataError, "row 0 has features that are no finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_makes_no_sense_is_said(made, error, words):
    with pytest.raises(error, match=words):
        made()


def test_a_constant_feature_stays_at_0():
    """The mean of ten times .1 is not .1."""
    assert (standardised(np.full((10, 1), 0.1)) == 0).all()

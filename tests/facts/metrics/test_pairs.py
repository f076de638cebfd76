"""Closed forms of scores of pairs."""

import numpy as np
import pytest

from jaxemb.metrics.clusters import agreement
from jaxemb.metrics.pairs import auc, average_precision, best_accuracy, best_f1

SCORES, LABELS = np.array([0.9, 0.8, 0.6, 0.1]), np.array([1, 0, 1, 0])


def test_average_precision_and_auc():
    assert average_precision(SCORES, LABELS) == pytest.approx((1 + 2 / 3) / 2) and auc(SCORES, LABELS) == 3 / 4
    assert average_precision(np.zeros(4), LABELS) == auc(np.zeros(4), LABELS) == 0.5  # the order of equals does not matter
    assert average_precision(SCORES, np.zeros(4, int)) == 0 and np.isnan(auc(SCORES, np.zeros(4, int)))


def test_the_best_cuts():
    assert best_accuracy(SCORES, LABELS)[:2] == pytest.approx((3 / 4, 0.85))
    assert best_f1(SCORES, LABELS) == pytest.approx((4 / 5, 0.35, 2 / 3, 1))


def test_equal_scores_are_not_cut_apart():
    assert best_accuracy(np.array([0.5, 0.5]), np.array([1, 0])).value == 1 / 2
    assert best_f1(np.array([0.5, 0.5]), np.array([1, 0])) == pytest.approx((2 / 3, 0.5, 1 / 2, 1))


def test_a_cut_may_leave_everything_on_one_side():
    none = best_accuracy(SCORES, np.array([0, 0, 0, 0]))
    assert none.value == 1 and none.threshold > SCORES.max() and best_accuracy(SCORES, np.ones(4, int)).threshold == 0.1


def test_clusters_need_not_have_the_names_of_the_classes():
    classes = np.array([0, 0, 1, 1])
    assert agreement(classes, np.array([7, 7, 3, 3]))[:4] == pytest.approx((1, 1, 1, 1))
    assert agreement(classes, np.array([0, 1, 0, 1])).v_measure == pytest.approx(0, abs=1e-12)

import numpy as np
import pytest

from jaxemb.metrics.sections import generalised_f1, section_scores


def test_by_hand():
    """Truth A A A B, prediction A A A A: .75 right, and B, which is rare, is missed."""
    truth, prediction = np.array([0, 0, 0, 1]), np.zeros(4, int)
    a, b = 1 / 3.01**2, 1 / 1.01**2
    assert generalised_f1(truth, prediction) == pytest.approx(2 * a * 3 / (7 * a + b)) == pytest.approx(0.3778, abs=1e-4)


def test_perfect_is_1_nothing_right_is_0_and_a_class_that_is_not_there_nearly_0():
    truth = np.array([0, 0, 1])
    assert generalised_f1(truth, truth) == 1 and generalised_f1(truth, np.array([1, 1, 0])) == 0
    assert generalised_f1(truth, np.array([0, 2, 1])) < 1e-3


def test_reports_are_measured_one_by_one():
    truth, prediction, report = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 0]), np.array([4, 4, 4, 7, 7])
    found = section_scores(truth, prediction, report)
    assert found["accuracy"] == (1 + 0.5) / 2
    assert found["g_f1"] == pytest.approx((1 + generalised_f1(truth[3:], prediction[3:])) / 2)

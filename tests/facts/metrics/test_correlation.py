"""Closed forms of correlations."""

import numpy as np
import pytest

from jaxemb.metrics.correlation import average_ranks, kendall, pearson, spearman

X = np.array([1.0, 2.0, 3.0, 4.0])


def test_of_what_rises_together():
    assert spearman(X, X**3) == pytest.approx(1) and kendall(X, X**3) == 1 and pearson(X, 5 - 2 * X) == pytest.approx(-1)
    assert pearson(X, X**3) < 0.96


def test_one_swap_of_four():
    y = np.array([1.0, 3.0, 2.0, 4.0])
    assert spearman(X, y) == pytest.approx(1 - 6 * 2 / (4 * 15)) and kendall(X, y) == pytest.approx((5 - 1) / 6)


def test_ties_share_their_ranks():
    assert average_ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [2.5, 1, 2.5, 4]
    assert kendall(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / np.sqrt(2 * 3))


def test_what_does_not_vary_correlates_with_nothing():
    assert all(np.isnan(f(X, np.ones(4))) for f in (pearson, spearman, kendall))

"""Closed forms of rankings: two judged documents, one found at rank 1 and one at rank 3."""

import math

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.metrics import ranking
from jaxemb.metrics.ranking import ABSENT, UNJUDGED, Ranking, median_rank, strict_ranks, within

R = Ranking(np.array([[2, 0, 1, UNJUDGED], [ABSENT] * 4, [0, 0, UNJUDGED, ABSENT]]), np.array([[1, 2, 0], [3, -1, -1], [0, 0, -1]]))
"""Found at ranks 1 and 3; nothing retrieved; nothing relevant."""


def test_ndcg():
    best = 2 + 1 / math.log2(3)
    np.testing.assert_allclose(ranking.ndcg(R), [(2 + 1 / math.log2(4)) / best, 0, 0])
    np.testing.assert_allclose(ranking.ndcg(R, 1), [1, 0, 0])
    np.testing.assert_allclose(ranking.ndcg(R, gain="exponential"), [(3 + 1 / 2) / (3 + 1 / math.log2(3)), 0, 0])
    with pytest.raises(ConfigError, match="valid: linear, exponential"):
        ranking.ndcg(R, gain="squared")


def test_ranks_and_shares():
    np.testing.assert_allclose(ranking.average_precision(R), [(1 + 2 / 3) / 2, 0, 0])
    np.testing.assert_allclose(ranking.average_precision(R, 2), [1 / 2, 0, 0])
    np.testing.assert_allclose(ranking.reciprocal_rank(R), [1, 0, 0])
    np.testing.assert_allclose(ranking.recall(R, 2), [1 / 2, 0, 0])
    np.testing.assert_allclose(ranking.precision(R, 10), [2 / 10, 0, 0])
    np.testing.assert_allclose(ranking.success(R, 1), [1, 0, 0])
    np.testing.assert_allclose(ranking.r_precision(R), [1 / 2, 0, 0])
    np.testing.assert_allclose(ranking.bpref(R), [(1 + 0) / 2, 0, 0])  # one judged not relevant stands above the second


def test_equal_scores_are_ranked_by_the_higher_document():
    scores = np.array([[1.0, 1.0, 2.0, 1.0]])
    assert ranking.trec_order(scores, np.ones((1, 4), bool)).tolist() == [[2, 3, 1, 0]]
    assert ranking.trec_order(scores, np.array([[True, False, False, True]])).tolist() == [[3, 0, -1, -1]]


def test_a_grade_below_0_is_no_judgement():
    r = ranking.ranking(np.array([[0, 1, -1]]), np.array([[-5, 1, 0]]))
    assert r.grades.tolist() == [[UNJUDGED, 1, ABSENT]] and r.relevant.tolist() == [1]


def test_strict_ranks_take_ties_in_favour_and_the_best_of_several_captions():
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.3, 0.2, 0.8, 0.8]])
    relevant = np.array([[1, 0, 0, 1], [0, 1, 1, 0]], bool)
    ranks = strict_ranks(scores, relevant)
    np.testing.assert_array_equal(ranks, [2, 1])
    assert median_rank(ranks) == 1.5 and within(ranks, 1) == 0.5 and within(ranks, 2) == 1
    with pytest.raises(ConfigError, match="row 1 has no relevant column"):
        strict_ranks(scores, relevant & [[True], [False]])


def test_average_precision_by_its_divisors():
    """Hits at ranks 1 and 3 of 4 relevant ones."""
    r = Ranking(np.array([[1, 0, 1] + [0] * 7]), np.array([[1, 1, 1, 1]]))
    for k, divisor, expected in ((10, "relevant", 5 / 12), (10, "least", 5 / 12), (3, "least", 5 / 9), (10, "k", 1 / 6)):
        np.testing.assert_allclose(ranking.average_precision(r, k, divisor=divisor), [expected])
    np.testing.assert_allclose([ranking.precision(r, 10)[0], ranking.recall(r, 10)[0]], [0.2, 0.5])
    with pytest.raises(ConfigError, match="divisor='k' with k=None; valid: relevant, and with a k least, k"):
        ranking.average_precision(r, divisor="k")

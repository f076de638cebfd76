"""Before, after or within: the same rows are found, at other prices."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.index.filtered import Filtered, distinct, dropped

R = np.random.default_rng(0)
M, K = 300, 5
X, Q = R.normal(size=(M, 8)).astype(np.float32), R.normal(size=(6, 8)).astype(np.float32)
RARE = (X @ Q[0]) < np.sort(X @ Q[0])[9]  # the 9 rows that are furthest from the first query: an anti-correlated filter
FILTERS = {
    "one": np.arange(M) % 7 == 0,
    "each": R.random((6, M)) < np.array([[0.5], [0.5], [0.02], [1], [0], [0.5]]),
    "rare": RARE,
    "all": np.ones(M, bool),
    "none": np.zeros(M, bool),
}
EXACT = Exact().build(X)


@pytest.mark.parametrize("strategy", ["plan", "pre", "post", "in"])
@pytest.mark.parametrize("name", FILTERS)
def test_every_strategy_finds_the_same(strategy, name):
    expected = EXACT.search(Q, K, FILTERS[name])
    found = Filtered(strategy=strategy, few=20).build(X).search(Q, K, FILTERS[name])
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("compared", "passing", "strategy"),
    [
        (10_000, 10_000, "none"),
        (10_000, 5000, "pre"),
        (10_000, 5001, "in"),
        (400, 900, "pre"),
        (1500, 1400, "pre"),
        (1500, 4000, "post"),
        (100, 1001, "post"),
    ],
)
def test_the_plan_takes_what_compares_fewest_rows(compared, passing, strategy, monkeypatch):
    monkeypatch.setattr(Exact, "compared", lambda self, count: compared)
    plan = Filtered().planned(10_000, passing, 10)
    assert plan.strategy == strategy and plan.selectivity == passing / 10_000


def test_a_filter_that_is_rare_near_the_query_is_answered_within(monkeypatch):
    monkeypatch.setattr(Exact, "compared", lambda self, count: 4)
    asked = []
    find = Exact.find
    monkeypatch.setattr(
        Exact, "find", lambda self, kept, q, k, mask: asked.append((k, mask is None)) or find(self, kept, q, k, mask)
    )
    built = Filtered(few=2, often=0.01).build(X)
    for seen, calls in ((RARE, [(128, True), (1, False)]), (RARE[::-1], [(128, True)])):
        asked.clear()
        found = built.search(Q[:1], 1, seen)
        assert asked == calls  # of 128 neighbours none pass, where 4 should; of the other filter some do
        np.testing.assert_array_equal(found.ids, EXACT.search(Q[:1], 1, seen).ids)


def test_a_rare_filter_of_few_rows_is_answered_before_and_of_many_within(monkeypatch):
    """Of 9 rows that pass none is among the 128 nearest: by that share more than 256 would be looked at. Of 150 none is among 4."""
    monkeypatch.setattr(Exact, "compared", lambda self, count: 1)
    seen = []
    find = Exact.find
    monkeypatch.setattr(Exact, "find", lambda self, kept, q, k, mask: seen.append(kept.count) or find(self, kept, q, k, mask))
    half = (X @ Q[0]) < np.median(X @ Q[0])
    for mask, rows in ((RARE, [300, 10]), (half, [300, 300])):
        seen.clear()
        found = Filtered(few=2, often=0.01, similarity="dot", index=Exact("dot")).build(X).search(Q[:1], 1, mask)
        assert seen == rows
        np.testing.assert_array_equal(found.ids, Exact("dot").build(X).search(Q[:1], 1, mask).ids)


def test_the_list_grows_until_it_holds_enough(monkeypatch):
    nearest = np.argsort(-(EXACT.kept.rows["x"] @ Q[0]))
    seen = np.ones(M, bool)
    seen[nearest[[0, 1, 2, *range(4, 9)]]] = False  # of the first four one passes, of the first eight no other
    asked = []
    find = Exact.find
    monkeypatch.setattr(Exact, "find", lambda self, kept, q, k, mask: asked.append(k) or find(self, kept, q, k, mask))
    found = Filtered(strategy="post", fetch=1.0).build(X).search(Q[:1], 2, seen)
    np.testing.assert_array_equal(found.ids, [nearest[[3, 9]]])
    assert asked == [4, 8, 16]


def test_distances_are_distances():
    index = Exact("euclidean")
    found, expected = Filtered("euclidean", index).build(X).search(Q, K), index.build(X).search(Q, K)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_without_growth_a_list_loses_what_does_not_pass():
    scores, places = np.array([[4.0, 3, 2, 1]], np.float32), np.array([[3, 1, 0, 2]])
    best, kept, got = dropped(scores, places, np.array([[True, False, True, False]]), 3)
    np.testing.assert_array_equal(best, [[2, 1, -np.inf]])
    np.testing.assert_array_equal(kept[:, :2], [[0, 2]])
    assert got == [2]


def test_equal_filters_are_answered_together():
    mask = np.array([[1, 0, 1], [1, 1, 1], [1, 0, 1]], bool)
    filters, of = distinct(mask, 3)
    assert len(filters) == 2
    np.testing.assert_array_equal(filters[of], mask)


def test_settings_out_of_range():
    for wrong in ({"strategy": "both"}, {"similarity": "dot"}, {"fetch": 0.5}, {"often": 2.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Filtered(**wrong)

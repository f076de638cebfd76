"""Lists: with all of them the search is exact, with few it compares few rows and still finds as many as are asked for."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index import ivf as module
from jaxemb.index.binary import Binary
from jaxemb.index.exact import Exact
from jaxemb.index.filtered import Filtered
from jaxemb.index.ivf import IVF, _by_centroid, planned
from jaxemb.index.scalar import Scalar

R = np.random.default_rng(0)
M = 300
X, Q = R.normal(size=(M, 6)).astype(np.float32), R.normal(size=(9, 6)).astype(np.float32)


def ivf(similarity="cosine", **options):
    return IVF(similarity, index=Exact(similarity), **{"lists": 12, "probes": 12, "rounds": 3, **options})


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_with_all_lists_it_is_exact(similarity):
    index = ivf(similarity)
    built, exact = index.build(X), Exact(similarity).build(X)
    for x, y in ((built, exact), (built.remove([3, 50]).add(X[:5]), exact.remove([3, 50]).add(X[:5]))):
        found, expected = x.search(Q, 7), y.search(Q, 7)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-4)


def test_few_lists_hold_the_nearest_rows_of_groups_that_lie_apart():
    centres = 4 * np.eye(6, dtype=np.float32)
    x = np.repeat(centres, 50, axis=0) + np.float32(0.3) * X
    built, exact = ivf(lists=6, probes=1, rounds=10).build(x), Exact().build(x)
    found, expected = built.search(x[::7], 5).ids, exact.search(x[::7], 5).ids
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, expected, strict=True)]) > 0.9


def test_it_looks_on_until_there_are_enough_rows():
    built = ivf(probes=1).build(X)
    few = np.arange(M) % 60 == 7
    found, expected = built.search(Q, 5, few), Exact().build(X).search(Q, 5, few)
    np.testing.assert_array_equal(found.ids, expected.ids)
    each = R.random((9, M)) < 0.02
    assert ((built.search(Q, 400, each).ids >= 0).sum(1) == each.sum(1)).all()
    assert (built.search(Q, 40).ids >= 0).all()


def test_of_equal_rows_the_first_comes_first():
    x = np.concatenate([X[:60], X[:60]])
    np.testing.assert_array_equal(ivf(probes=2).build(x).search(X[:9], 2).ids, np.arange(9)[:, None] + [0, 60])


@pytest.fixture
def two_lists(monkeypatch):
    """A list of few rows at the end, nearest to the query (1, 0); the best row, and one as good as its first, lie in the other."""
    centroids = np.array([[0.9, 5], [1, 0]], np.float32)
    monkeypatch.setattr(IVF, "learn", lambda self, x: {"centroids": centroids, "index": {}})
    return np.array([[0.5, 0], [0.4, 0], [3, 5], [0.5, 5]], np.float32)


def test_only_what_is_probed_is_found_and_of_equal_rows_the_first_comes_first(two_lists):
    q = np.array([[1, 0]], np.float32)
    for probes, ids in ((1, [[0, 1]]), (2, [[2, 0, 3, 1]])):
        np.testing.assert_array_equal(ivf("dot", lists=2, probes=probes).build(two_lists).search(q, len(ids[0])).ids, ids)


def test_the_nearest_list_is_by_products_that_of_the_largest():
    c, q = np.array([[1, 0], [3, 0]], np.float32), np.array([[1, 0]], np.float32)
    for similarity, first in (("dot", 1), ("euclidean", 0)):
        assert _by_centroid(similarity, q, c)[0, 0] == first


def test_many_lists_and_many_rows_are_counted():
    n = 2**15 + 9
    x = (np.arange(n) % 300).astype(np.float32)[:, None]
    learned = {"centroids": x[:300], "index": {"mean": x[0]}}
    index = ivf("euclidean", lists=300)
    rows = index.encode(learned, x)
    np.testing.assert_array_equal(rows["list"], x[:, 0])
    np.testing.assert_array_equal(rows["place"], np.arange(n))
    twice = index.join([rows, {**rows, "place": rows["place"].copy()}])
    np.testing.assert_array_equal(np.sort(twice["place"]), np.arange(2 * n))


def test_what_is_kept_learns_from_no_more_rows_than_it_asks_for(monkeypatch):
    seen = []
    monkeypatch.setattr(Scalar, "learn", lambda self, x, learn=Scalar.learn: seen.append(x) or learn(self, x))
    IVF(lists=1, rounds=0, index=Scalar(sample=20)).build(X)
    assert len(seen[0]) == 20 and not (seen[0] == IVF().prepare(X[:20])).all()


def test_rows_are_kept_as_another_index_keeps_them_and_filters_go_round_it():
    built = IVF(lists=4, probes=4, index=Binary(query="binary")).build(X)
    np.testing.assert_allclose(built.search(Q, 4).scores, Binary(query="binary").build(X).search(Q, 4).scores, rtol=1e-6)
    odd = np.arange(M) % 2 == 1
    for strategy in ("pre", "post", "in"):
        found = Filtered(index=ivf(), strategy=strategy).build(X).search(Q, 4, odd)
        np.testing.assert_array_equal(found.ids, Exact().build(X).search(Q, 4, odd).ids)


@pytest.mark.parametrize("piece", [4, 64])
def test_each_query_is_compared_with_each_row_of_its_lists_once(piece):
    sizes = np.array([5, 0, 9, 1, 30])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    near = np.argsort(R.random((70, 5)), axis=1)
    probed = R.integers(1, 6, 70)
    plan = planned(near, probed, starts, piece)
    seen = np.zeros((70, 45), int)
    for query, entries in enumerate(plan.places):
        for entry in entries[entries >= 0]:
            task, place = divmod(int(entry), plan.queries.shape[1])
            assert plan.queries[task, place] == query and plan.length[task] <= piece
            seen[query, plan.start[task] : plan.start[task] + plan.length[task]] += 1
    lists = np.repeat(np.arange(5), sizes)
    expected = [np.isin(lists, near[i, :n]) for i, n in enumerate(probed)]
    np.testing.assert_array_equal(seen, expected)


def test_settings_out_of_range():
    for wrong in ({"lists": 0}, {"probes": 0}, {"similarity": "dot"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            IVF(**wrong)


def test_masks_of_few_queries_at_a_time(monkeypatch):
    built, masks = ivf(probes=2).build(X), R.random((9, M)) < 0.5
    wanted = built.search(Q, 5, masks)
    monkeypatch.setattr(module, "MASKED", 2 * M)
    found = built.search(Q, 5, masks)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-6)

"""Of candidates the second index says the order."""

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.binary import Binary
from jaxemb.index.exact import Exact
from jaxemb.index.rerank import Rerank
from jaxemb.index.scalar import Scalar

R = np.random.default_rng(0)
X, Q = R.normal(size=(90, 20)).astype(np.float32), R.normal(size=(4, 20)).astype(np.float32)


def test_the_first_finds_and_the_second_sorts():
    first = Binary(query="binary")
    near = first.build(X).search(Q, 12)
    exact = Exact().build(X).search(Q, 90)
    expected = [[i for i in row if i in some][:4] for row, some in zip(exact.ids, near.ids, strict=True)]
    index = Rerank(first=first, second=Exact(), times=3)
    for built in (index.build(X), index.build(X, mesh=jax.make_mesh((8,), ("data",)))):
        found = built.search(Q, 4)
        np.testing.assert_array_equal(found.ids, expected)
        best = [exact.scores[i][exact.ids[i] == ids[0]][0] for i, ids in enumerate(found.ids)]
        np.testing.assert_allclose(found.scores[:, 0], best, rtol=1e-5)
    all_of_them = Rerank(first=first, second=Exact(), times=90).build(X).search(Q, 4)
    np.testing.assert_array_equal(all_of_them.ids, exact.ids[:, :4])


def test_each_learns_from_rows_of_the_whole_corpus():
    x = np.arange(1, 1001, dtype=np.float32)[:, None]
    built = Rerank("dot", Binary("dot", sample=10), Scalar("dot", sample=100)).build(x)
    assert 250 < float(built.kept.learned["first"]["mean"][0]) < 750


def test_distances_are_distances():
    exact = Exact("euclidean")
    found, expected = Rerank("euclidean", exact, exact).build(X).search(Q, 4), exact.build(X).search(Q, 4)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_some_rows_are_compared_by_the_second():
    built = Rerank(second=Exact()).build(X)
    index, some = built.index.subset(built.kept, np.array([7, 3, 50]))
    assert index == Exact() and some.count == 3
    np.testing.assert_array_equal(some.rows["x"], built.kept.rows["second"]["x"][np.array([7, 3, 50])])


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="times"):
        Rerank(times=0)
    with pytest.raises(ConfigError, match="cosine, that of its first index dot"):
        Rerank(first=Binary("dot"))

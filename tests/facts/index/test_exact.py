"""Exact search is a whole sort of all similarities, on one device, in blocks and on several."""

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.ops.closeness import all_pairs

R = np.random.default_rng(0)
X, Q = R.normal(size=(403, 12)).astype(np.float32), R.normal(size=(5, 12)).astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_as_a_whole_sort_also_from_blocks_on_several_devices(similarity):
    s = all_pairs(Q, X, similarity)
    nearest = np.argsort(-s, axis=1, kind="stable")[:, :7]
    mesh = jax.make_mesh((8,), ("data",))
    index = Exact(similarity)
    for built in (index.build(X), index.build((X[i : i + 150] for i in range(0, 403, 150)), mesh=mesh)):
        found = built.search(Q, 7)
        np.testing.assert_array_equal(found.ids, nearest)
        np.testing.assert_allclose(found.scores, np.take_along_axis(s, nearest, 1), rtol=1e-4, atol=1e-5)
    less = built.remove(nearest[0, :2]).search(Q[:1], 3, np.arange(403) != nearest[0, 3])
    np.testing.assert_array_equal(less.ids, nearest[:1, [2, 4, 5]])


def test_of_equal_rows_the_first_comes_first():
    x = np.concatenate([X[:200], X[:200]])
    found = Exact().build(x).search(X[:9], 2)
    np.testing.assert_array_equal(found.ids, np.arange(9)[:, None] + [0, 200])


def test_what_is_kept_is_a_copy():
    x = X.copy()
    built = Exact("dot").build(x)
    x[:] = 0
    np.testing.assert_array_equal(built.kept.rows["x"], X)


def test_the_share_that_a_tpu_finds_is_one():
    with pytest.raises(ConfigError, match="recall"):
        Exact(recall=1.5)
    built = Exact(recall=0.9).build(X)
    np.testing.assert_array_equal(built.search(Q, 3).ids, Exact().build(X).search(Q, 3).ids)

"""What every index keeps to."""

import json

import jax
import numpy as np
import pytest
from libraries import standing_in

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.discover import members
from jaxemb.index.files import load_index
from jaxemb.index.filters import Equals
from jaxemb.preprocess.base import DataError

M, D = 130, 16
X = np.random.default_rng(0).normal(size=(M, D)).astype(np.float32)
Q = X[:5] + np.float32(0.01)


@pytest.fixture(scope="module", params=members("index"), ids=lambda m: m.name)
def built(request):
    with standing_in():  # for the libraries of adapters that are not installed
        yield request.param.cls().build(rows(request.param.cls, X))


def rows(index, x):
    """Vectors, or texts of one token each."""
    return x[:, None] if index.texts else x


def test_a_stored_vector_finds_itself(built):
    found = built.search(rows(built.index, X[:9]), 3)
    assert found.scores.shape == found.ids.shape == (9, 3)
    assert (found.ids[:, 0] == np.arange(9)).mean() > 0.8
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_all_rows_come_back_where_k_is_above_their_number(built):
    found = built.search(rows(built.index, Q), M + 7)
    np.testing.assert_array_equal(np.sort(found.ids, axis=1), np.broadcast_to(np.arange(M), (5, M)))


def test_nothing_is_found_that_is_not_allowed_and_all_that_is(built):
    one = np.arange(M) % 40 == 3
    each = np.random.default_rng(1).random((5, M)) < 0.5
    found = built.search(rows(built.index, Q), 10, one)
    assert (np.sort(found.ids, axis=1)[:, -4:] == np.flatnonzero(one)).all()
    assert (found.ids[:, 4:] == -1).all() and np.isneginf(found.scores[:, 4:]).all()
    for row, ids in enumerate(built.search(rows(built.index, Q), 10, each).ids):
        assert each[row, ids].all()
    assert (built.search(rows(built.index, Q), 3, np.zeros(M, bool)).ids == -1).all()


def test_rows_go_and_come_and_the_others_keep_their_ids(built):
    less = built.remove([0, 7])
    assert len(less) == M - 2 and len(built) == M
    ids = less.search(rows(built.index, Q), M).ids
    np.testing.assert_array_equal(np.sort(ids, axis=1)[0], np.setdiff1d(np.arange(M), [0, 7]))
    more = less.add(rows(built.index, X[:1]))
    assert more.search(rows(built.index, X[:1]), 1).ids[0, 0] == M


def test_the_bytes_are_those_of_its_arrays(built):
    assert built.nbytes() == sum(a.nbytes for a in jax.tree.leaves((built.kept.learned, built.kept.rows)))


def test_saved_and_loaded_it_is_the_same(built, tmp_path):
    tagged = built.index.build(rows(built.index, X), {"parity": np.arange(M) % 2, "name": [f"n{i % 3}" for i in range(M)]}).remove(
        [4]
    )
    tagged.save(tmp_path)
    loaded = load_index(tmp_path)
    assert loaded.index == tagged.index and loaded.nbytes() == tagged.nbytes()
    for allow in (None, Equals("parity", 1) & ~Equals("name", "n1")):
        for a, b in zip(tagged.search(rows(built.index, Q), 6, allow), loaded.search(rows(built.index, Q), 6, allow), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ConfigError, match="no tag 'nam'; did you mean 'name'"):
        loaded.search(rows(built.index, Q), 6, Equals("nam", "n1"))


def test_settings_are_stored(built):
    assert from_json(json.loads(json.dumps(to_json(built.index)))) == built.index


@pytest.mark.parametrize("k", [0, -3])
def test_k_is_at_least_one(built, k):
    with pytest.raises(ConfigError, match=f"k={k}"):
        built.search(rows(built.index, Q), k)


def test_bad_rows_are_named(built):
    x = rows(built.index, X)
    bad = x.copy()
    bad[[3, 5], ..., 1] = np.nan
    with pytest.raises(DataError, match="not finite: 3, 5"):
        built.index.build(bad)
    bad[[3, 5]] = 0
    with pytest.raises(DataError, match="zeros.*: 3, 5"):
        built.index.build([x[:2], bad[2:]])
    for few in (x[:0], [], [x[:0]]):
        with pytest.raises(DataError, match="no rows"):
            built.index.build(few)
    with pytest.raises(DataError, match="15 numbers"):
        built.search(x[:5, ..., 1:])
    with pytest.raises(DataError, match="15 numbers"):
        built.add(x[..., 1:])

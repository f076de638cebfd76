"""Hamming distances, and the query in numbers that chooses among the nearest."""

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.binary import Binary

R = np.random.default_rng(0)
X, Q = (R.normal(size=(n, 40)).astype(np.float32) + np.float32(0.3) for n in (90, 4))


def signs(centre):
    mean = X.mean(0) if centre else 0
    return np.where(X > mean, 1, -1), np.where(Q > mean, 1, -1), Q - mean


@pytest.mark.parametrize("centre", [True, False])
def test_the_binary_score_is_the_cosine_of_signs(centre):
    x, q, _ = signs(centre)
    expected = q @ x.T / 40
    found = Binary("dot", centre, "binary").build(X).search(Q, 90)
    np.testing.assert_array_equal(found.ids, np.argsort(-expected, axis=1, kind="stable"))
    np.testing.assert_allclose(found.scores, np.take_along_axis(expected, found.ids, 1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("query", "rtol"), [("float32", 1e-5), ("int8", 0.02)])
def test_the_query_in_numbers_chooses_among_the_nearest_by_bits(query, rtol):
    x, q, numbers = signs(True)
    near = np.argsort(-(q @ x.T), axis=1, kind="stable")[:, :12]
    unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    expected = np.take_along_axis(unit @ x.T / 40**0.5, near, 1)
    found = Binary("dot", query=query, times=4).build(X).search(Q, 3)
    np.testing.assert_allclose(found.scores, -np.sort(-expected, axis=1)[:, :3], rtol=rtol)
    if query == "int8":
        steps = np.round(unit / np.abs(unit).max(1, keepdims=True) * 127) * np.abs(unit).max(1, keepdims=True) / 127
        rounded = np.take_along_axis(steps @ x.T / 40**0.5, near, 1)
        np.testing.assert_allclose(found.scores, -np.sort(-rounded, axis=1)[:, :3], rtol=1e-5)
    if query == "float32":
        np.testing.assert_array_equal(found.ids, np.take_along_axis(near, np.argsort(-expected, axis=1)[:, :3], 1))


def test_over_devices_as_on_one():
    """Candidates are those of all devices together: few of each would be others."""
    mesh = jax.make_mesh((8,), ("data",))
    for index in (Binary("dot", query="int8", times=2), Binary("dot", query="binary")):
        one, many = index.build(X), index.build(X, mesh=mesh)
        for a, b in zip(one.search(Q, 5), many.search(Q, 5), strict=True):
            np.testing.assert_array_equal(a, b)
    assert one.nbytes() == 90 * 2 * 4 + 40 * 4  # two words a row, and the mean
    assert len(many.add(X[:1]).remove([3])) == 90


def test_settings_out_of_range():
    for wrong in ({"similarity": "euclidean"}, {"query": "bf16"}, {"times": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Binary(**wrong)

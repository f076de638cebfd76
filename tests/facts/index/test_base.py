"""Rows as numbers hold them, candidates in the order of rows, and what k may be."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.base import check_k, reranked, vectors
from jaxemb.index.exact import Exact
from jaxemb.index.filtered import Filtered
from jaxemb.index.ivf import IVF
from jaxemb.index.rerank import Rerank
from jaxemb.preprocess.base import DataError

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-44, 1e-21, 1e-14, 1, 1e20, 1e38])
def test_a_cosine_does_not_know_lengths(scale):
    x = np.sign(X) * np.float32(scale)
    x[::2] = X[::2]  # beside rows of usual lengths
    with np.errstate(all="raise", under="ignore"):
        found = vectors(x, "cosine")
    expected = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_entries_whose_squares_are_nothing_count():
    np.testing.assert_allclose(vectors(np.array([[3e-22, 4e-23]], np.float32), "cosine"), np.array([[30, 4]]) / 916**0.5, rtol=1e-6)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_rows_with_products_beyond_their_type_are_named(similarity):
    for scale in (5e18, 1e20):
        with pytest.raises(DataError, match="beyond 32 bits: 12, 13"):
            vectors(np.concatenate([X, np.full((2, 5), scale, np.float32)])[4:], similarity, 10)
    with pytest.raises(DataError, match="entries beyond 32 bits: 1"):
        vectors(np.array([[1.0], [1e39]]), similarity)
    assert vectors(np.full((1, 5), 1e18), similarity).dtype == np.float32


def test_entries_that_half_precision_cannot_hold_are_named():
    half = Exact("dot", dtype="float16")
    x = np.repeat(np.float32([[6e4, 1], [6e4, 6e4], [1e5, 1], [1, -1e5]]), 1, axis=0)
    for index in (half, Filtered("dot", half), IVF("dot", 1, index=half), Rerank("dot", Exact("dot"), half)):
        with pytest.raises(DataError, match="beyond 65504, .*: 2, 3"):
            index.prepare(x)
        index.prepare(x[:2])
    Exact("dot", dtype="bfloat16").prepare(x)
    with pytest.raises(DataError, match="beyond 32752, .*: 0, 1"):  # less a mean of as much, it would be too large
        Exact("euclidean", dtype="float16").prepare(x[:2])
    Exact(dtype="float16").prepare(x)


def test_what_is_a_number():
    np.testing.assert_array_equal(vectors(X.astype(ml_dtypes.bfloat16), "dot"), X.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert vectors(np.ones((1, 2), np.int8), "dot").dtype == np.float32
    for wrong in (np.complex64, bool, "m8[s]"):
        with pytest.raises(DataError, match="vectors .n d., not"):
            vectors(np.ones((2, 2)).astype(np.int64).astype(wrong), "dot")


def test_candidates_come_in_the_order_of_rows():
    near = jnp.array([[3.0, 2.0, 1.0]]), jnp.array([[2, 0, 1]])
    scores, places = reranked(near, lambda q, places: jnp.ones(places.shape), X[:1], 2)
    np.testing.assert_array_equal(places, [[0, 1]])


@pytest.mark.parametrize("k", [10.0, True, "3", None, np.True_])
def test_k_is_a_whole_number(k):
    with pytest.raises(ConfigError, match="a whole number of rows"):
        check_k(k)
    check_k(np.int64(3))

"""k-means finds clusters that are apart, every centroid has rows, and sums of squares never grow."""

import jax.numpy as jnp
import numpy as np

from jaxemb.ops import k_means as module
from jaxemb.ops.k_means import k_means, nearest

RNG = np.random.default_rng(0)
X = np.repeat(np.eye(4, dtype=np.float32) * 9, 6, axis=0) + RNG.normal(size=(24, 4)).astype(np.float32) * 0.1


def test_finds_clusters_from_a_bad_start():
    """Two start in one place: that which gets no rows moves to the row that is furthest, of the cluster without a start."""
    start = jnp.asarray(X[[0, 0, 6, 12]])
    c = np.asarray(k_means(X, 4, start=start))
    means = X.reshape(4, 6, 4).mean(1)
    np.testing.assert_allclose(c[np.argsort(c.argmax(1))], means, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(k_means(X, 4, start=jnp.asarray(c)), c, rtol=1e-5)  # and then nothing moves


def test_each_centroid_without_rows_gets_a_row_of_its_own():
    c = np.asarray(k_means(X, 4, rounds=1, start=jnp.asarray(X[[0, 0, 0, 6]])))
    assert len(np.unique(c, axis=0)) == 4


def test_rounds_make_the_sum_smaller():
    sums = [float(nearest(jnp.asarray(X), k_means(X, 4, rounds=r, seed=3))[1].sum()) for r in range(4)]
    assert sums == sorted(sums, reverse=True) and sums[3] < sums[0]


def test_few_rows_are_the_centroids():
    c = np.asarray(k_means(X[:3], 8))
    assert {tuple(r) for r in c} == {tuple(r) for r in X[:3]} and c.shape == (8, 4)


def test_nearest_of_equals_is_the_first_and_blocks_change_nothing(monkeypatch):
    c = jnp.asarray(np.concatenate([X[:2], X[:2]]))
    whole = nearest(jnp.asarray(X), c)
    np.testing.assert_array_equal(whole[0], ((X[:, None] - np.asarray(c)[None]) ** 2).sum(-1).argmin(1))
    assert int(whole[0].max()) < 2
    monkeypatch.setattr(module, "BLOCK", 40)
    for a, b in zip(whole, nearest(jnp.asarray(X), c), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)

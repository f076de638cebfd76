"""Exact search is a whole sort of all similarities, on one device, in blocks and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.binary import Binary
from jaxemb.index.exact import Exact
from jaxemb.index.ivf import IVF
from jaxemb.index.pq import PQ
from jaxemb.index.rabitq import RaBitQ
from jaxemb.index.scalar import Scalar
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


FAR = (Exact("euclidean"), Scalar("euclidean"), PQ("euclidean", 4, 8), IVF("euclidean", 4, 4, Exact("euclidean")))


@pytest.mark.parametrize("index", FAR, ids=lambda index: type(index).__name__)
def test_far_from_zero_the_nearest_are_the_nearest(index):
    """Squares of a thousand would leave of distances of one a digit: recall .6 with 64 numbers."""
    built = index.build(X + np.float32(1000))
    near = index.build(X).search(Q, 5)
    found = built.search(Q + np.float32(1000), 5)
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.ids, near.ids, strict=True)]) > 0.9
    np.testing.assert_allclose(found.scores, near.scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_rows_and_queries_alike(dtype):
    """A distance is that of what was rounded, not of one rounded and the other not; products are summed in 32 bits."""
    half = lambda x: np.asarray(jnp.asarray(x, dtype), np.float32)  # noqa: E731
    mean = X.mean(0)
    found = Exact("euclidean", dtype).build(X).search(X[:9] + np.float32(0.01), 1)
    x, q = half(X - mean), half(X[:9] + np.float32(0.01) - mean)
    np.testing.assert_allclose(found.scores[:, 0], -np.sqrt(((q - x[found.ids[:, 0]]) ** 2).sum(1)), rtol=1e-2, atol=3e-3)
    wide = np.full((2, 4096), 1, np.float32)
    wide[1] += np.float32(0.25)
    assert Exact("dot", dtype).build(wide).search(wide, 2).scores[0].tolist() == [5120, 4096]
    wide[:, 0] = 1.5  # sums of half precision would stand still at 2 048 or 256
    assert Exact("dot", dtype).build(wide).search(np.ones((1, 4096), np.float32), 2).scores[0].tolist() == [5120.25, 4096.5]


def test_products_of_32_bits_say_so_to_a_tpu():
    """Else it rounds their factors to 8 bits, and "exact" search is not."""
    seen = []

    class Watched(Exact):
        def scores(self, learned, rows, q):
            seen.append(jax.config.jax_default_matmul_precision)
            return super().scores(learned, rows, q)

    Watched().build(X[:50]).search(Q, 1)
    assert seen == ["highest"]


def test_a_tpu_is_asked_for_the_largest():
    index = Exact("dot", recall=0.9)
    text = jax.jit(lambda s: index.select(s, 3)).trace(jnp.zeros((2, 4000))).lower(lowering_platforms=("tpu",)).as_text()
    assert "ApproxTopK" in text and "top_k_gt" in text


def test_queries_of_32_bits_in_rows_of_64():
    with jax.enable_x64(True):
        for index in (Exact("euclidean"), Binary(), RaBitQ(), Scalar(), PQ(parts=4, bits=4)):
            a, b = (index.build(X.astype(np.float64)).search(Q.astype(t), 3) for t in (np.float32, np.float64))
            np.testing.assert_array_equal(a.ids, b.ids)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_what_is_kept_tells_the_vectors(similarity):
    built = Exact(similarity).build(X)
    np.testing.assert_allclose(built.index.decode(built.kept.learned, built.host_rows()), X, rtol=1e-6, atol=1e-6)

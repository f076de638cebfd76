"""Product quantisation: what is kept, what is found, what is refused."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.pq import PQ

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(6, 8))[RNG.integers(0, 6, 60)] + 0.3 * RNG.normal(size=(60, 8))).astype(np.float32)


def decoded(built):
    c = np.asarray(built.kept.learned["centroids"])
    j = np.asarray(built.kept.rows["codes"])  # bits 8: a byte a part
    return c[np.arange(len(c))[:, None], j].swapaxes(0, 1).reshape(len(built), -1)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_scores_are_those_of_decoded_rows(similarity):
    built = PQ(similarity, parts=4, rounds=3).build(X)
    q = X[:2] + np.float32(0.1)
    x = decoded(built)
    wanted = q @ x.T if similarity == "dot" else -np.sqrt(((q[:, None] - x[None]) ** 2).sum(-1))
    found = built.search(q, 60)
    np.testing.assert_allclose(found.scores, np.take_along_axis(wanted, found.ids, 1), rtol=1e-4, atol=1e-4)


def test_few_rows_are_kept_exactly_and_many_by_their_nearest_centroid():
    np.testing.assert_allclose(decoded(PQ("dot", parts=2).build(X)), X, rtol=1e-6)  # 256 centroids of 60 rows
    built = PQ("dot", parts=2, bits=2, rounds=4).build(X)
    c, parts = np.asarray(built.kept.learned["centroids"]), X.reshape(60, 2, 4)
    nearest = ((parts[:, :, None] - c[None]) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(np.asarray(built.kept.rows["codes"])[0], nearest[:, 0] | nearest[:, 1] << 2)


def test_bytes():
    """12 codes of 4 bits in 6 bytes a row, beside the centroids."""
    x = np.tile(X, (1, 3))
    assert PQ(parts=12, bits=4, rounds=1).build(x).nbytes() == 60 * 6 + 24 * 16 * 4


def test_bad_settings():
    with pytest.raises(ConfigError, match=r"PQ\.parts=3 does not divide vectors of 8"):
        PQ(parts=3).build(X)
    with pytest.raises(ConfigError, match="bits"):
        PQ(bits=9)

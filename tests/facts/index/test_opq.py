"""The rotation of optimised product quantisation."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.index.opq import OPQ, dealt, procrustes
from jaxemb.index.pq import PQ
from jaxemb.ops.product_codes import codes, decoded

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(8, 8)) * np.array([9.0, 6, 4, 3, 0.5, 0.3, 0.2, 0.1])[:, None]
X = (RNG.normal(size=(200, 8)) @ MIX).astype(np.float32)


def lost(index, learned):
    y = X @ np.asarray(learned["rotation"]).T if "rotation" in learned else X
    return float(((y - np.asarray(decoded(codes(index.cut(y), learned["centroids"]), learned["centroids"]))) ** 2).sum())


def test_loses_less_than_without_and_less_with_every_turn():
    settings = {"parts": 4, "bits": 3, "rounds": 2}
    plain = PQ("dot", **settings)
    each = [OPQ("dot", turns=n, **settings) for n in (0, 1, 4)]
    sums = [lost(index, index.learn(X)) for index in (plain, *each)]
    assert sums == sorted(sums, reverse=True) and sums[-1] < 0.8 * sums[0]
    rotation = np.asarray(each[-1].learn(X)["rotation"])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-5)


def test_the_best_rotation_of_rotated_rows_is_theirs():
    q, _ = np.linalg.qr(RNG.normal(size=(8, 8)).astype(np.float32))
    np.testing.assert_allclose(procrustes(jnp.asarray(X), jnp.asarray(X @ q.T)), q, atol=2e-3)


def test_directions_are_dealt_by_variance():
    """Variances 64, 16, 4, 1 in two parts: the largest with the smallest."""
    x = np.concatenate([np.diag([8.0, 4, 2, 1]), -np.diag([8.0, 4, 2, 1])]).astype(np.float32).reshape(8, 2, 2)
    np.testing.assert_allclose(np.abs(dealt(x)), np.eye(4)[[0, 3, 1, 2]], atol=1e-6)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_a_rotation_changes_no_products(similarity):
    """256 centroids of fewer rows keep them exactly."""
    some = X[:40]
    found = OPQ(similarity, parts=4, turns=1, rounds=1).build(some).search(some[:3], 40)
    wanted = some[:3] @ some.T if similarity == "dot" else -np.sqrt(((some[:3, None] - some[None]) ** 2).sum(-1))
    np.testing.assert_allclose(found.scores, np.take_along_axis(wanted, found.ids, 1), rtol=1e-3, atol=0.1)

"""Pairs that share an aspect, and the figures of their retrieval, against aflite.npz."""

import numpy as np
import pytest

from jaxemb.data.aspects import aspect_pairs, sharing
from jaxemb.metrics.ranking import average_precision, precision, ranking, recall, reciprocal_rank


@pytest.fixture
def file(load):
    return load("aflite.npz")


def test_positive_pairs(file):
    np.testing.assert_array_equal(aspect_pairs(file["as_labels"], int(file["as_max"])), file["as_pairs"])


def test_figures_of_retrieval_and_the_divisors_of_average_precision(file):
    share, k = sharing(file["as_labels"], int(file["as_max"])), int(file["as_k"])
    queries = np.flatnonzero(share.any(1))
    np.testing.assert_array_equal(queries, file["as_queries"])
    x = file["as_x"] / np.linalg.norm(file["as_x"], axis=1, keepdims=True)
    scores = np.round(x[queries] @ x.T, 12)
    scores[np.arange(len(queries)), queries] = -np.inf  # the query itself is no candidate
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(order, file["as_topk"])
    r = ranking(order, share[queries].astype(np.int64))
    found = {"p": precision(r, k), "r": recall(r, k), "rr": reciprocal_rank(r, k)}
    found |= {f"ap_{tag}": average_precision(r, k, divisor=d) for tag, d in (("R", "relevant"), ("minkR", "least"), ("k", "k"))}
    for name, value in found.items():
        np.testing.assert_allclose(value, file[f"as_{name}"], rtol=1e-9, atol=1e-12, err_msg=name)

"""LIMIT's facts: what vectors of d numbers serve by construction, by optimisation, and what was published."""

import math

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.evals.capacity import WARNING, FreeEmbeddings, margin, polynomial, query_graph, served_exactly, subsets


def test_a_thousand_queries_of_pairs_take_46_documents():
    assert [len(subsets(n, 2)) for n in (45, 46)] == [990, 1035] == [math.comb(45, 2), math.comb(46, 2)]
    assert (subsets(7, 3).sum(1) == 3).all() and len(np.unique(subsets(7, 3), axis=0)) == 35
    assert not subsets(9, 2)[: math.comb(6, 2), 6:].any(), "those of the first documents come first"


def test_four_numbers_serve_every_pair_of_any_number_of_documents():
    found = margin(*served_exactly(50), subsets(50, 2))
    assert found == pytest.approx(2.149e-5, rel=1e-3)
    by_bits = [margin(*served_exactly(200, dtype=d), subsets(200, 2)) for d in (np.float64, np.float32)]
    assert by_bits[0] > 0 > by_bits[1], "so by margins that 32 bits do not hold"
    assert all(x.shape[1] == 4 and np.allclose(np.linalg.norm(x, axis=1), 1) for x in served_exactly(9))


@pytest.mark.parametrize("k", [1, 3])
def test_twice_k_numbers_serve_every_set_of_k(k):
    """Of k = 1, each document its own query on the circle, any n."""
    queries, documents = served_exactly(12, k)
    assert queries.shape[1] == documents.shape[1] == 2 * k and margin(queries, documents, subsets(12, k)) > 1e-6
    if k == 1:
        np.testing.assert_allclose(queries, documents, atol=1e-12)


def test_the_sign_rank_of_identity_is_three_while_two_numbers_keep_its_order():
    """sign rank - 1 <= the rank that keeps the order of each row: a threshold a row more is one number more."""
    queries, documents = served_exactly(7, 1)
    scores = queries @ documents.T
    between = (1 + np.cos(2 * np.pi / 7)) / 2
    assert np.linalg.matrix_rank(scores) == 2 and np.linalg.matrix_rank(scores - between) == 3
    np.testing.assert_array_equal(np.sign(scores - between), 2 * np.eye(7) - 1)


def test_the_published_polynomial():
    assert polynomial(512) == pytest.approx(512290, rel=1e-3)
    assert [round(polynomial(d), 1) for d in (4, 5, 6)] == [6.7, 11.4, 16.3] and polynomial(2) < 0


def test_queries_of_all_pairs_are_a_dense_graph():
    """Each meets 2 x 44 of the 1 034 others, at a similarity of one third; about 28 of a thousand of them."""
    found = query_graph(subsets(46, 2))
    assert found["strength"] == pytest.approx(88 / 3) and found["density"] == pytest.approx(88 / 1034)
    some = np.random.default_rng(0).permutation(1035)[:1000]
    assert query_graph(subsets(46, 2)[some]) == pytest.approx({"strength": 28.3, "density": 0.085}, rel=0.01)
    assert query_graph(np.eye(4, dtype=bool)) == {"strength": 0, "density": 0}


def test_two_numbers_serve_all_pairs_of_three_documents_and_of_no_more():
    found = FreeEmbeddings(2).critical(seeds=2, patience=1, most=5)
    assert found.numbers == (3, 3) and min(found.margins) > 1e-6
    assert found.warning == WARNING and found.published < 0 and "not a bound" in WARNING


def test_seeds_that_are_solved_stay_as_they_are():
    relevant = np.eye(4, dtype=bool)
    found = FreeEmbeddings(3, "any", steps=300).fit(relevant, seeds=2)
    assert found.solved.all()
    for queries, documents, expected in zip(*map(np.asarray, found), strict=True):
        assert margin(queries, documents, relevant) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: FreeEmbeddings(0), "FreeEmbeddings.dim"),
        (lambda: FreeEmbeddings(2, rate=0.0), "FreeEmbeddings.rate must be above 0"),
        (lambda: FreeEmbeddings(2, temperature=0.0), "temperature must be above 0"),
        (lambda: FreeEmbeddings(2, "all"), "form='all'.*each"),
        (lambda: FreeEmbeddings(2).fit(np.zeros((2, 3), bool)), "no query has a relevant document"),
        (lambda: subsets(3, 4), "k=4 of n=3 documents"),
        (lambda: query_graph(np.ones((1, 3), bool)), "a graph of 1 queries"),
    ],
)
def test_what_makes_no_sense_is_said(made, message):
    with pytest.raises(ConfigError, match=message):
        made()

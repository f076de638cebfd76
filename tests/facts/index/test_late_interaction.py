"""MaxSim of whole texts: as by loops, padding that never counts, memory of the tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index import late_interaction as module
from jaxemb.index.late_interaction import LateInteraction, blocks_of_texts
from jaxemb.ops.maxsim import Matrices, maxsim
from jaxemb.preprocess.base import DataError

RNG = np.random.default_rng(0)
LENGTHS = [3, 9, 1, 4, 8, 2, 5, 7, 1, 6, 9]
DOCUMENTS = [RNG.normal(size=(n, 6)).astype(np.float32) for n in LENGTHS]
QUERIES = [RNG.normal(size=(n, 6)).astype(np.float32) for n in (2, 5, 3)]


def sorted_by(s, found):
    np.testing.assert_array_equal(found.ids, np.argsort(-s, axis=1, kind="stable")[:, : found.ids.shape[1]])
    np.testing.assert_allclose(found.scores, np.take_along_axis(s, found.ids, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_as_maxsim_of_each_pair(monkeypatch, similarity):
    monkeypatch.setattr(module, "BLOCK", 4 * 24 * 5)  # five fours of tokens at a time, and twenty single ones
    monkeypatch.setattr(module, "NUMBERS", 3 * 9 * 6)  # three texts
    index = LateInteraction(similarity)
    built = index.build(DOCUMENTS)
    s = maxsim(QUERIES, DOCUMENTS, similarity)
    sorted_by(s, built.search(QUERIES, 11))
    mask = RNG.random((3, 11)) < 0.6
    sorted_by(np.where(mask, s, -np.inf), built.search(QUERIES, int(mask.sum(1).min()), mask))
    same = index.build(Matrices(DOCUMENTS[:4]) for _ in range(1)).add(Matrices(DOCUMENTS[4:]))
    for a, b in zip(same.search(Matrices(QUERIES), 4), built.search(QUERIES, 4), strict=True):
        np.testing.assert_array_equal(a, b)
    s[:, [1, 6]] = -np.inf
    sorted_by(s, built.remove([1, 6]).search(QUERIES, 9))


def test_negative_products_and_padding_between_tokens():
    """A row of zeros would be above a largest product of less than nothing, wherever it stands."""
    away = -np.abs(DOCUMENTS[1][:2])
    padded = np.zeros((1, 7, 6), np.float32)
    padded[0, [1, 4]] = away
    query = np.abs(QUERIES[0])[None]
    found = LateInteraction("dot").build(padded).search(query, 1)
    assert found.scores[0, 0] < 0
    np.testing.assert_allclose(found.scores[0, 0], (query[0] @ away.T).max(1).sum(), rtol=1e-5)


def test_few_queries_at_a_time(monkeypatch):
    built, s = LateInteraction("dot").build(DOCUMENTS), maxsim(QUERIES, DOCUMENTS, "dot")
    monkeypatch.setattr(module, "SCORES", 11 * 8)  # one of eight tokens, padded
    sorted_by(s, built.search(QUERIES, 3))
    mask = np.arange(33).reshape(3, 11) % 3 != np.arange(3)[:, None]  # of each query another one
    sorted_by(np.where(mask, s, -np.inf), built.search(QUERIES, 3, mask))


@pytest.mark.parametrize("tokens", [0, 3, 8])
def test_candidates_of_each_query(tokens):
    """Texts of any length; or all of so many, so that there are no fours of tokens, or nothing but fours."""
    documents = DOCUMENTS if not tokens else [RNG.normal(size=(tokens, 6)).astype(np.float32) for _ in LENGTHS]
    built, s = LateInteraction("dot").build(documents), maxsim(QUERIES, documents, "dot")
    sorted_by(s, built.search(QUERIES, 3))
    places = np.array([[9, 0, 1], [3, 10, 4], [2, 5, 8]])
    near = np.array([[1.0, 1, 1], [1, -np.inf, 1], [1, 1, 1]], np.float32)
    scores, found = built.index.among(built.kept.rows, built.index.prepare(QUERIES), (near, places), 2)
    wanted = np.where(near > 0, np.take_along_axis(s, places, 1), -np.inf)
    best = np.argsort(-wanted, axis=1)[:, :2]
    np.testing.assert_array_equal(found, np.take_along_axis(places, best, 1))
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, best, 1), rtol=1e-5)


def test_bytes_are_those_of_the_tokens_and_a_length_a_text():
    assert LateInteraction().build(DOCUMENTS).nbytes() == sum(LENGTHS) * 6 * 4 + 11 * 4
    half = LateInteraction("dot", dtype="float16").build(DOCUMENTS)
    assert half.nbytes() == sum(LENGTHS) * 6 * 2 + 11 * 4
    np.testing.assert_allclose(
        half.search(QUERIES, 3).scores, LateInteraction("dot").build(DOCUMENTS).search(QUERIES, 3).scores, rtol=0.01
    )


def test_blocks_are_small_and_of_one_length(monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 2 * 9 * 6)
    shapes = [block.shape for block in blocks_of_texts(DOCUMENTS)]
    assert shapes == [(2, 9, 6)] * 5 + [(1, 9, 6)]
    assert [len(b) for b in blocks_of_texts(iter([jnp.ones((5, 9, 6)), DOCUMENTS[:3]]))] == [2, 2, 1, 2, 1]


def test_bad_texts():
    index = LateInteraction()
    with pytest.raises(DataError, match="texts with a vector a token"):
        index.build(DOCUMENTS[0])
    with pytest.raises(DataError, match="without any token: 2"):
        index.build([*DOCUMENTS[:2], DOCUMENTS[0][:0]])
    with pytest.raises(DataError, match="not finite: 1"):
        index.build([DOCUMENTS[0], DOCUMENTS[1] * np.float32(np.nan)])
    with pytest.raises(DataError, match="of 5 and of 6 numbers"):
        index.build([DOCUMENTS[0], DOCUMENTS[1][:, 1:]])
    with pytest.raises(DataError, match="beyond 32 bits: 1"):
        LateInteraction("dot").build([DOCUMENTS[0], DOCUMENTS[1] * np.float32(1e20)])
    with pytest.raises(DataError, match="beyond 65504.*: 1"):
        LateInteraction("dot", "float16").build([DOCUMENTS[0], DOCUMENTS[1] * np.float32(1e6)])
    with pytest.raises(DataError, match="complex64"):
        index.build(np.ones((2, 3, 4), np.complex64))
    for scale in (1e20, 1e-25):  # whose squares 32 bits do not hold
        far = index.build([x * np.float32(scale) for x in DOCUMENTS]).search(QUERIES, 5)
        near = index.build(DOCUMENTS).search(QUERIES, 5)
        np.testing.assert_array_equal(far.ids, near.ids)
        np.testing.assert_allclose(far.scores, near.scores, rtol=1e-5)
    with pytest.raises(ConfigError, match="similarity"):
        LateInteraction("euclidean")
    with pytest.raises(ConfigError, match="one device"):
        index.build(DOCUMENTS, mesh=jax.make_mesh((1,), ("rows",), devices=jax.devices()[:1]))

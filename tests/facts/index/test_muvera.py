"""MUVERA as an index: encodings find candidates, tokens order them. Its encodings: `tests/facts/ops/test_fde.py`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.index.late_interaction import LateInteraction
from jaxemb.index.muvera import MUVERA
from jaxemb.index.pq import PQ
from jaxemb.ops import fde
from jaxemb.ops.similarity import unit

RNG = np.random.default_rng(0)
TOPICS = RNG.normal(size=(12, 8))
DOCUMENTS = [
    (TOPICS[RNG.choice(12, 3)].repeat(2, 0)[: RNG.integers(2, 7)] + 0.2 * RNG.normal(size=(6, 8))[:1]).astype(np.float32)
    for _ in range(40)
]
QUERIES = [(TOPICS[RNG.choice(12, 2)] + 0.2 * RNG.normal(size=(2, 8))).astype(np.float32) for _ in range(6)]
SMALL = MUVERA(repetitions=6, planes=2, projected=4, times=3)


def test_all_candidates_give_maxsim_and_few_give_most_of_it():
    exact = LateInteraction().build(DOCUMENTS).search(QUERIES, 5)
    built = SMALL.build(DOCUMENTS)
    every = built.search(QUERIES, 40)
    np.testing.assert_array_equal(every.ids[:, :5], exact.ids)
    np.testing.assert_allclose(every.scores[:, :5], exact.scores, rtol=1e-5)
    few = built.search(QUERIES, 5)
    shared = np.mean([len(np.intersect1d(a, b)) / 5 for a, b in zip(few.ids, exact.ids, strict=True)])
    assert shared > 0.7
    found = {int(i): float(s) for i, s in zip(every.ids[0], every.scores[0], strict=True)}
    np.testing.assert_allclose(few.scores[0], [found[int(i)] for i in few.ids[0]], rtol=1e-5)  # scores are MaxSim's


def test_options_change_the_encodings():
    """The length of one is that of the card; each option has a say, and the same seed draws the same."""
    index = dataclasses.replace(SMALL, projected=None)
    x = SMALL.prepare(DOCUMENTS)

    def encodings(of, learned=None):
        return np.asarray(of.encode(learned or of.learn(x), x)["first"]["x"])

    assert encodings(SMALL).shape == (40, 6 * 4 * 4) and encodings(index).shape == (40, 6 * 4 * 8)
    np.testing.assert_array_equal(encodings(SMALL), encodings(SMALL))
    for changed in ({"projection": "sparse"}, {"fill": False}, {"seed": 1}):
        assert not np.array_equal(encodings(dataclasses.replace(SMALL, **changed)), encodings(SMALL))
    sketched = dataclasses.replace(SMALL, sketched=10).build(DOCUMENTS)
    assert sketched.kept.rows["first"]["x"].shape == (40, 10)
    carved = dataclasses.replace(SMALL, carved=0.0)
    same = [np.repeat(q, 2, axis=0) for q in QUERIES]  # copies are carved into their sum, which has their direction
    for a, b in zip(carved.build(DOCUMENTS).search(same, 3), SMALL.build(DOCUMENTS).search(same, 3), strict=True):
        assert a.shape == b.shape
    one_cell = dataclasses.replace(SMALL, planes=0).build(DOCUMENTS)
    assert one_cell.kept.rows["first"]["x"].shape == (40, 6 * 4)


@pytest.mark.parametrize("options", [{}, {"sketched": 10}, {"carved": 0.3}, {"projected": None}], ids=str)
def test_encodings_are_those_of_each_text_by_itself(options, monkeypatch):
    """Sums of queries and means of documents, with the same planes, matrices and places; padding is in no cell."""
    index = dataclasses.replace(SMALL, **options)
    built, asked = index.build(DOCUMENTS), []
    monkeypatch.setattr(Exact, "find", lambda self, kept, q, k, mask: asked.append(q) or (q[:, :k], np.zeros((len(q), k), int)))
    built.search(QUERIES[:3], 1)
    draws = built.kept.learned["draws"]
    planes, inner = draws["planes"], draws.get("inner")
    sketch = (lambda x: fde.count_sketch(x, draws["into"], draws["sign"], 10)) if index.sketched else lambda x: x

    def of_query(q):
        q, real = jnp.asarray(q), jnp.ones(len(q), bool)
        q, real = (q, real) if index.carved is None else fde.carve(q, real, 0.3)
        return fde.encode_query(q, real, planes, inner)

    rows = [fde.encode_document(jnp.asarray(unit(x)), jnp.ones(len(x), bool), planes, inner) for x in DOCUMENTS[:4]]
    np.testing.assert_allclose(built.kept.rows["first"]["x"][:4], sketch(jnp.stack(rows)), rtol=1e-4, atol=1e-5)
    wanted = sketch(jnp.stack([of_query(unit(q)) for q in QUERIES[:3]]))
    np.testing.assert_allclose(asked[0], wanted, rtol=1e-4, atol=1e-5)
    if inner is not None:
        assert not np.array_equal(inner[0], inner[1])
    if index.sketched:
        assert set(np.unique(draws["sign"])) == {-1, 1} and len(np.unique(draws["into"])) == 10


def test_rows_that_a_filter_takes_out_are_compared_by_their_tokens():
    built, all_ = SMALL.build(DOCUMENTS), LateInteraction().build(DOCUMENTS).search(QUERIES, 40)
    index, kept = built.index.subset(built.kept, np.array([7, 2, 30]))
    _, places = index.find(kept, index.prepare(QUERIES), 3, None)
    order = np.argsort(all_.ids, axis=1)[:, [7, 2, 30]]  # ranks of these
    np.testing.assert_array_equal(places, np.argsort(order, axis=1))


def test_encodings_in_fewer_bytes():
    """Any index of products keeps them, one that learns as well."""
    built = dataclasses.replace(SMALL, index=PQ("dot", parts=8, bits=4, rounds=2)).build(DOCUMENTS)
    assert built.kept.rows["first"]["codes"].shape == (4, 40)
    exact = LateInteraction().build(DOCUMENTS).search(QUERIES, 40)
    np.testing.assert_array_equal(built.search(QUERIES, 40).ids, exact.ids)


def test_what_is_learned_from_blocks_of_texts_of_other_lengths():
    """The blocks of an iterable have as many tokens as their longest text."""
    index = dataclasses.replace(SMALL, index=PQ("dot", parts=8, bits=4, rounds=2))
    longer = np.pad(SMALL.prepare(DOCUMENTS[20:]), ((0, 0), (0, 2), (0, 0)))
    a, b = (index.build(x).search(QUERIES, 40) for x in (iter([DOCUMENTS[:7], DOCUMENTS[7:20], longer]), DOCUMENTS))
    np.testing.assert_array_equal(a.ids, b.ids)


def test_bad_settings():
    with pytest.raises(ConfigError, match="its similarity is dot, not cosine"):
        MUVERA(index=Exact())
    with pytest.raises(ConfigError, match=r"MUVERA\.projected=0"):
        MUVERA(projected=0)
    with pytest.raises(ConfigError, match="projection"):
        MUVERA(projection="gauss")
    with pytest.raises(ConfigError, match="one device"):
        MUVERA().build(DOCUMENTS, mesh=jax.make_mesh((1,), ("rows",), devices=jax.devices()[:1]))

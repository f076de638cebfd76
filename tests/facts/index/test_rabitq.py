"""RaBitQ: estimates without bias, within the bound, and the bytes of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index import rabitq
from jaxemb.index.rabitq import RaBitQ
from jaxemb.ops.similarity import unit

RNG = np.random.default_rng(0)
D = 20
X = (RNG.normal(size=(50, D)) + 1).astype(np.float32)
Q = (RNG.normal(size=(3, D)) + 1).astype(np.float32)


def estimates(seed, bits=None):
    p, centre = rabitq.rotation(D, seed), X.mean(0)
    code = rabitq.encode(X.astype(np.float64), centre, p)
    q, _ = rabitq.direction(Q.astype(np.float64), centre, p)
    if bits:
        noise = np.random.default_rng(seed).random(q.shape).astype(np.float32)
        q = rabitq.rounded(jnp.asarray(q, jnp.float32), bits, jnp.asarray(noise)).values()
    inner = (np.where(code.bits, 1, -1) @ np.asarray(q).T).T / np.sqrt(D)
    return inner / code.factor, code


def test_without_bias_and_within_the_bound():
    centre = X.mean(0)
    o, q = unit(X - centre), unit(Q - centre)
    found = [estimates(seed) for seed in range(300)]
    apart = np.stack([e for e, _ in found]) - (q @ o.T)[None]
    assert np.abs(apart.mean(0)).max() < 0.06 and abs(apart.mean()) < 0.004
    bound = np.stack([rabitq.half_width(c.factor.astype(np.float32), D, 1.9) for _, c in found])
    outside = (np.abs(apart) > bound[:, None]).mean()
    assert 0.001 < outside < 0.15  # 2 exp(-1.9^2 / 2) = 0.33 at most
    rounded = np.stack([estimates(seed, 4)[0] for seed in range(100)]) - (q @ o.T)[None]
    assert abs(rounded.mean()) < 0.01 and rounded.std() < 1.2 * apart.std()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_scores_of_an_index_are_about_the_exact_ones(similarity):
    q, x = (unit(Q), unit(X)) if similarity == "cosine" else (Q, X)
    wanted = -np.sqrt(((q[:, None] - x[None]) ** 2).sum(-1)) if similarity == "euclidean" else q @ x.T
    for bits in (None, 8):
        found = RaBitQ(similarity, query_bits=bits).build(X).search(Q, 50)
        exact = np.take_along_axis(wanted, found.ids, 1)
        assert np.corrcoef(found.scores.ravel(), exact.ravel())[0, 1] > 0.85
        assert abs((found.scores - exact).mean()) < 0.1 * np.abs(exact).mean()


def test_a_row_at_the_centre_and_a_row_that_is_asked_for():
    """The first has no direction: distances from it are exact. Of the second the estimate is exact."""
    index = RaBitQ("euclidean")
    built = index.build(np.concatenate([X, X.mean(0, keepdims=True)]))
    centre = built.kept.learned["centre"]
    again = index.encode(built.kept.learned, np.stack([centre, X[0]]))
    s = index.scores(built.kept.learned, {k: jnp.asarray(v) for k, v in again.items()}, jnp.asarray(np.stack([Q[0], X[0]])))
    np.testing.assert_allclose(s[0, 0], -((Q[0] - centre) ** 2).sum(), rtol=1e-4)
    np.testing.assert_allclose(s[1, 1], 0, atol=1e-3)


def test_queries_are_rounded_alike_wherever_they_stand():
    built = RaBitQ("dot", query_bits=3).build(X)
    together, alone = built.search(Q, 9), [built.search(Q[i : i + 1], 9) for i in range(3)]
    np.testing.assert_allclose(together.scores, np.concatenate([a.scores for a in alone]), rtol=1e-5)


def test_an_index_rounds_queries_without_bias(monkeypatch):
    """The lower of two steps would take half a step from every number of a query."""
    seen = []
    monkeypatch.setattr(rabitq, "signs_times", lambda q, bits: seen.append(q) or jnp.zeros((len(q), bits.shape[1])))
    x = RNG.normal(size=(4, 400)).astype(np.float32)
    for bits in (None, 3):
        index = RaBitQ("dot", query_bits=bits)
        learned = {name: jnp.asarray(a) for name, a in index.learn(x).items()}
        index.scores(learned, {name: jnp.asarray(a) for name, a in index.encode(learned, x).items()}, jnp.asarray(x))
    exact, rounded = map(np.asarray, seen)
    step = np.ptp(exact, axis=1, keepdims=True) / 7
    assert abs(((rounded - exact) / step).mean()) < 0.1 and np.abs((rounded - exact) / step).max() < 1.001


def test_bytes():
    """20 bits are 3 bytes, and three numbers a row; a rotation and a mean."""
    assert RaBitQ().build(X).nbytes() == 50 * (3 + 12) + 4 * (D * D + D)


def test_bad_settings():
    with pytest.raises(ConfigError, match=r"RaBitQ\.query_bits=0"):
        RaBitQ(query_bits=0)

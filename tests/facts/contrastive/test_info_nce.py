import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE

Q, C = (np.asarray(normal(i, n, 4)) for i, n in ((0, 3), (1, 5)))
PLACES = np.array([4, 0, 2])


def by_hand(s, places, keep):
    e = np.exp(s) * (keep | (np.arange(s.shape[1])[None] == places[:, None]))
    return -np.log(e[np.arange(len(s)), places] / e.sum(1))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_loss_by_hand(similarity):
    q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C)) if similarity == "cosine" else (Q, C)
    keep = np.ones((3, 5), bool)
    keep[0, 3] = keep[1, 0] = False  # a positive counts all the same
    expected = by_hand(q @ c.T / 0.5, PLACES, keep)
    weights = np.array([1.0, 0.0, 2.0], np.float32)
    out = InfoNCE(0.5, similarity=similarity)(*map(jnp.asarray, (Q, C, PLACES, weights, keep)))
    assert float(out.value) == pytest.approx((expected * weights).sum() / 3, rel=1e-5) and float(out.weight) == 3


def test_both_directions():
    q, c = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C[PLACES]))
    every = np.ones((3, 3), bool)
    back = by_hand(c @ q.T / 0.5, np.arange(3), every).mean()
    one, both = (float(InfoNCE(0.5, symmetric=s)(jnp.asarray(Q), jnp.asarray(C), jnp.asarray(PLACES)).value) for s in (False, True))
    assert both == pytest.approx((one + back) / 2, rel=1e-5)
    keep = jnp.asarray(np.array([[True, False, True], [False, True, True], [True, True, True]]))
    a, b = jnp.asarray(Q), jnp.asarray(C[:3])
    there, turned = (float(InfoNCE(symmetric=True)(*pair, keep=keep).value) for pair in ((a, b), (b, a)))
    assert there == pytest.approx(turned, rel=1e-5), "with a symmetric `keep` the sides can be exchanged"


def test_equal_rows_give_the_logarithm_of_the_candidates_and_far_ones_nothing():
    assert float(InfoNCE()(jnp.ones((3, 2)), jnp.ones((7, 2))).value) == pytest.approx(np.log(7), rel=1e-6)
    out = InfoNCE(0.05)(jnp.eye(4), jnp.eye(4))
    assert float(out.value) == pytest.approx(0, abs=1e-6) and float(out.logs["accuracy"]) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "InfoNCE: temperature must be above 0, is 0.0"),
        ({"temperature": float("nan")}, "temperature must be above 0, is nan"),
        ({"similarity": "euclid"}, "similarity='euclid'.*cosine, dot"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        InfoNCE(**fields)


def test_too_few_candidates_are_named():
    with pytest.raises(ConfigError, match="InfoNCE: 5 queries have 3 candidates"):
        InfoNCE()(jnp.asarray(C), jnp.asarray(Q))

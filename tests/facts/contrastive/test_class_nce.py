import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.class_nce import ClassNCE

Q, C = normal(0, 3, 4), normal(1, 6, 4)
OWN = jnp.asarray(np.array([[3, 4], [4, 5], [5, -1]]))


def classes(*labels, of_candidates):
    return Known(labels=jnp.asarray(np.array(labels)), candidate_labels=jnp.asarray(np.array(of_candidates)), own=OWN)


def test_rows_of_one_class_are_no_negatives_and_hard_ones_are():
    """With all classes equal, hard negatives of another class are left: those of all queries."""
    q, c = (np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C))
    e = np.exp(q @ c.T / 0.5)
    expected = -np.log(np.diagonal(e) / (np.diagonal(e) + e[:, 3:].sum(1))).mean()
    known = classes(1, 1, 1, of_candidates=[1, 1, 1, 2, 2, -1])
    assert float(call(ClassNCE(0.5), Q, C, known=known).value) == pytest.approx(expected, rel=1e-5)


def test_a_hard_negative_of_the_querys_own_class_and_queries_of_it_are_left_out():
    known = classes(1, 2, 1, of_candidates=[1, 2, 1, 1, 2, 3])
    weights = jnp.array([1.0, 1e-30, 1e-30])
    grads = jax.jit(jax.grad(lambda q, c: ClassNCE(0.5)(q, c, weights=weights, known=known).value, (0, 1)))(Q, C)
    touched = [np.flatnonzero(np.abs(g).max(1) > 1e-6).tolist() for g in grads]
    assert touched == [[0, 1], [0, 4, 5]]


def test_labels_that_are_missing_are_named():
    with pytest.raises(ConfigError, match=r"ClassNCE needs known.labels, .*labelled texts, `data.labelled=True`"):
        ClassNCE()(Q, C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "ClassNCE: temperature must be above 0, is 0.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        ClassNCE(**fields)


def test_a_hard_negative_of_an_unknown_class_is_one_of_queries_of_an_unknown_class_too():
    e = [np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C)]
    e = np.exp(e[0] @ e[1].T / 0.5)
    known = classes(-1, -1, -1, of_candidates=[-1, -1, -1, -1, -1, -1])
    expected = -np.log(np.diagonal(e) / (np.diagonal(e) + e[:, 3:].sum(1))).mean()
    assert float(ClassNCE(0.5)(Q, C, known=known).value) == pytest.approx(expected, rel=1e-5)

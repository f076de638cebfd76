import math

import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.sigmoid import Sigmoid

Q, C = normal(0, 3, 4), normal(1, 6, 4)


def sigmoid(loss=Sigmoid(0.5, -1.0), **known):  # noqa: B008
    return Known(learned={name: jnp.float32(x) for name, x in loss.learned().items()}, **known)


def test_sigmoid_by_hand_with_several_positives():
    q, c = (np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C))
    also = np.zeros((3, 6), bool)
    also[0, 4] = True
    z = np.where(np.eye(3, 6, dtype=bool) | also, 1, -1)
    expected = np.log1p(np.exp(-z * (2 * q @ c.T - 1))).sum(1).mean()
    out = call(Sigmoid(0.5, -1.0), Q, C, known=sigmoid(also=jnp.asarray(also)))
    assert float(out.value) == pytest.approx(expected, rel=1e-5)
    assert float(out.logs["scale"]) == pytest.approx(2) and float(out.logs["bias"]) == -1


def test_one_pair_teaches_a_sigmoid():
    Sigmoid().refuse_alone(1, 1)
    assert float(call(Sigmoid(0.5, -1.0), Q[:1], Q[:1], known=sigmoid()).value) == pytest.approx(math.log1p(math.exp(-1)), rel=1e-5)


def test_learned_scalars_that_are_missing_are_named():
    with pytest.raises(ConfigError, match=r"Sigmoid needs known.learned\['log_scale'\]"):
        Sigmoid()(Q, C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "Sigmoid: temperature must be above 0, is 0.0"),
        ({"similarity": "l2"}, "Sigmoid.similarity='l2'.*cosine, dot"),
        ({"most_scale": 0.0}, "Sigmoid: most_scale must be above 0, is 0.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Sigmoid(**fields)


def test_another_positive_counts_where_it_is_no_negative():
    """As `Pairs` hands them on: what `also` names, `keep` spares."""
    also = jnp.zeros((3, 6), bool).at[0, 4].set(True)
    spared = Sigmoid(0.5, -1.0)(Q, C, keep=~also, known=sigmoid(also=also)).value
    assert float(spared) == pytest.approx(float(Sigmoid(0.5, -1.0)(Q, C, known=sigmoid(also=also)).value), rel=1e-6)

import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive import InfoNCE
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.sim_cse import SimCSE

Q, C = normal(0, 3, 4), normal(1, 6, 4)
OWN = jnp.asarray(np.array([[3, 4], [4, 5], [5, -1]]))


def test_sim_cse_weighs_the_own_hard_negatives_alone():
    q, c = (np.asarray(x) / np.linalg.norm(x, axis=1, keepdims=True) for x in (Q, C))
    w = np.ones((3, 6))
    for i, places in enumerate(np.asarray(OWN)):
        w[i, places[places >= 0]] = 3
    e = np.exp(q @ c.T / 0.5)
    expected = -np.log(np.diagonal(e) / (w * e).sum(1)).mean()
    assert float(call(SimCSE(0.5, 3.0), Q, C, known=Known(own=OWN)).value) == pytest.approx(expected, rel=1e-5)
    assert float(call(SimCSE(0.5), Q, C).value) == pytest.approx(float(call(InfoNCE(0.5), Q, C).value), rel=1e-6)
    with pytest.raises(ConfigError, match="SimCSE needs known.own"):
        SimCSE(0.5, 3.0)(Q, C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": 0.0}, "SimCSE: temperature must be above 0, is 0.0"),
        ({"negative_weight": 0.0}, "SimCSE: negative_weight must be above 0, is 0.0"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        SimCSE(**fields)

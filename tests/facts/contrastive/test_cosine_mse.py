import jax.numpy as jnp
import pytest
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.cosine_mse import CosineMSE


def test_loss_by_hand_with_scores_below_zero():
    q, p = jnp.asarray([[1.0, 0.0], [0.0, 2.0]]), jnp.asarray([[3.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0
    out = call(CosineMSE(), q, p, known=Known(scores=jnp.asarray([0.5, -1.0])))
    assert float(out.value) == pytest.approx((0.25 + 1) / 2)
    with pytest.raises(ConfigError, match="CosineMSE: known.scores must lie in -1 to 1, and one is 4"):
        CosineMSE()(q, p, known=Known(scores=jnp.asarray([0.5, 4.0])))
    with pytest.raises(ConfigError, match="activation='tanh'"):
        CosineMSE("tanh")


def test_one_pair_teaches_it():
    CosineMSE().refuse_alone(1, 1)

import jax.numpy as jnp
import pytest
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.mega_batch import MegaBatchMargin


def test_loss_by_hand_and_without_negatives():
    q, c = jnp.asarray([[1.0, 0.0], [0.0, 1.0]]), jnp.asarray([[0.6, 0.8], [0.0, 1.0]])
    out = call(MegaBatchMargin(0.8, 0.3), q, c)  # cosines .6 0 / .8 1
    assert float(out.value) == pytest.approx((0.2 + 0 + 0 + 0.5) / 2, rel=1e-5) and float(out.logs["accuracy"]) == 1
    assert float(call(MegaBatchMargin(0.8, 0.3), q[:1], c[:1]).value) == pytest.approx(0.2, rel=1e-5)
    assert float(call(MegaBatchMargin(0.8, 0.3), q, c, keep=jnp.eye(2, dtype=bool)).value) == pytest.approx(0.1, rel=1e-5)


def test_a_margin_that_is_no_number_is_refused():
    with pytest.raises(ConfigError, match="MegaBatchMargin.positive_margin=nan"):
        MegaBatchMargin(float("nan"))

import jax.numpy as jnp
import numpy as np
import pytest
from compiled import call

from jaxemb.config import ConfigError
from jaxemb.contrastive.base import Known
from jaxemb.contrastive.multi_positive import MultiPositive

ALSO = jnp.asarray(np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool))


def test_equal_logits_and_the_least_of_both_forms():
    q, c = jnp.ones((2, 3)), jnp.ones((4, 3))
    for form, equal in (("each", np.log(4)), ("any", np.log(4 / 2))):
        assert float(call(MultiPositive(form=form), q, c, known=Known(also=ALSO)).value) == pytest.approx(equal, rel=1e-5)
    q, c = jnp.asarray([[1.0, 0.0]]), jnp.asarray([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    also = Known(also=jnp.asarray([[True, True, False]]))
    assert float(call(MultiPositive(0.01), q, c, known=also).value) == pytest.approx(np.log(2), rel=1e-5)
    assert float(call(MultiPositive(0.01, "any"), q, c, known=also).value) == pytest.approx(0, abs=1e-5)


def test_positives_count_whatever_keep_says_and_every_pair_alike():
    q, c = jnp.eye(2, 4), jnp.eye(4, 4)
    loss = MultiPositive(1.0, similarity="dot")
    also = ALSO.at[1].set(jnp.asarray([False, True, False, False]))
    z = np.log(np.e + 3)
    assert float(call(loss, q, c, keep=~also, known=Known(also=also)).value) == pytest.approx(
        (2 * np.log(np.e + 3) - 1 + z - 1) / 3, rel=1e-5
    )


def test_it_says_what_it_needs():
    with pytest.raises(ConfigError, match=r"MultiPositive needs known.also"):
        MultiPositive()(jnp.eye(2), jnp.eye(2))
    with pytest.raises(ConfigError, match="form='all'.*any, each"):
        MultiPositive(form="all")

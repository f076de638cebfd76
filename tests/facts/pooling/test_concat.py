import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from tiny import tiny

from jaxemb.config import ConfigError
from jaxemb.pooling.concat import MODES, Concat, of_modes
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.token import Token
from jaxemb.pooling.trainable import MultiLayer
from jaxemb.types import Features

F = Features(jnp.array([[[1.0, -2.0], [3.0, 4.0], [9.0, 9.0]]]), jnp.array([[True, True, False]]))


def test_side_by_side_in_the_order_that_is_asked_for():
    np.testing.assert_array_equal(of_modes(["lasttoken", "max"]).apply({}, F), [[3.0, 4.0, 3.0, 4.0]])
    np.testing.assert_array_equal(of_modes(("cls", "mean", "max")).apply({}, F), [[1.0, -2.0, 2.0, 1.0, 3.0, 4.0]])
    assert of_modes(["mean"]) == Mean() and of_modes(["lasttoken"]) == Token(last=True)
    assert of_modes(list(MODES)).apply({}, F).shape == (1, 12)


def test_asks_for_the_layers_of_its_parts(key):
    both = Concat((Mean(), tiny(MultiLayer)))
    assert both.wants(4) == (0, 1, 2) and Concat((Mean(),)).wants(4) == ()
    f = Features(normal(0, 2, 3, 4), jnp.ones((2, 3), bool), (normal(1, 2, 3, 4),))
    z, _ = both.init_with_output(key, f)
    np.testing.assert_array_equal(z[:, :4], Mean().apply({}, f))

    class Deep(Mean):
        def wants(self, depth):
            return (0,)

    with pytest.raises(ConfigError, match=r"read different layers: \(0,\), \(0, 1, 2\)"):
        Concat((Deep(), tiny(MultiLayer))).wants(4)


def test_bad_fields_are_named():
    with pytest.raises(ConfigError, match="no pooling mode 'lastoken'; did you mean 'lasttoken'"):
        of_modes(["mean", "lastoken"])
    with pytest.raises(ConfigError, match=r"Concat\.parts must name at least one"):
        Concat(())

import math

import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.rotary_centred import RotaryCentred

CELLS = jnp.array([[[0, 0], [1, 1], [2, 3]]])


def test_positions_run_from_border_to_border():
    """2 pi (2 (p + 1/2) / n - 1): of three rows -4pi/3, 0, 4pi/3; of four columns -3pi/2, -pi/2, pi/2, 3pi/2."""
    pos = RotaryCentred().locate(Places(CELLS, grid=(3, 4)))
    np.testing.assert_allclose(pos[0] / math.pi, [[-4 / 3, -1.5], [0, -0.5], [4 / 3, 1.5]], rtol=1e-6, atol=1e-6)


def test_class_and_register_tokens_are_not_turned():
    module, q = RotaryCentred(), normal(0, 1, 5, 2, 8)
    places = Places(CELLS, grid=(3, 4))
    places = places.at(module.locate(places))
    shared = module.prepare(places, heads=2, width=8, prefix=2)
    turned, _ = module.rotate(q, q, shared)
    np.testing.assert_allclose(turned[:, :2], q[:, :2], rtol=1e-6)
    angles = np.arctan2(*(x[0, 4, 0] for x in shared.angles[::-1]))
    expected = np.array([4 / 3, 4 / 30, 1.5, 0.15]) * math.pi  # base 100, two pairs an axis: 1 and 1/10
    np.testing.assert_allclose(np.cos(angles - expected), 1, atol=1e-6)


def test_it_needs_the_grid():
    with pytest.raises(ConfigError, match="RotaryCentred needs the grid of the input"):
        RotaryCentred().locate(Places(CELLS))

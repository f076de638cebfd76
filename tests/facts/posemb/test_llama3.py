"""The frequencies of Llama 3.1: short waves stay, long ones are divided by s, and between them lies a ramp."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.posemb.llama3 import Llama3
from jaxemb.posemb.rotary import Rotary


def spectrum(scheme, theta):
    found, factor = scheme.spectrum(jnp.asarray(theta, jnp.float32)[None, None], 0, 2 * len(theta), jnp.ones((1, 1), jnp.int32))
    assert factor == 1.0
    return np.asarray(found)[0, 0]


def test_waves_by_how_often_they_turn_within_the_training_length():
    scheme = Llama3(of=Rotary(), factor=8.0, original=1000, low=1.0, high=4.0)
    turns = np.array([100.0, 4.0, 2.5, 1.0, 0.01])  # within 1000 positions: theta = 2 pi turns / 1000
    theta = 2 * math.pi * turns / 1000
    share = np.array([1, 1, 0.5, 0, 0])
    np.testing.assert_allclose(spectrum(scheme, theta), (1 - share) * theta / 8 + share * theta, rtol=1e-5)


def test_a_factor_of_one_changes_nothing():
    theta = 10_000.0 ** -np.linspace(0, 0.9, 8)
    np.testing.assert_allclose(spectrum(Llama3(of=Rotary(), factor=1.0), theta), theta, rtol=1e-6)


@pytest.mark.parametrize("bad", [{"low": 4.0, "high": 4.0}, {"low": 0.0}, {"factor": 0.5}, {"original": 0}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Llama3(of=Rotary(), **bad)

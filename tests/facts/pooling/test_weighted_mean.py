import jax.numpy as jnp
import numpy as np

from jaxemb.pooling.weighted_mean import WeightedMean
from jaxemb.types import Features

TOKENS = jnp.array([[[6.0], [12.0], [18.0], [30.0]]])


def pooled(mask, seen=None):
    seen = None if seen is None else jnp.array([seen], bool)
    return float(WeightedMean().apply({}, Features(TOKENS, jnp.array([mask], bool), seen=seen))[0, 0])


def test_counts_from_the_first_token_that_is_no_padding():
    assert pooled([1, 1, 1, 0]) == (6 + 2 * 12 + 3 * 18) / 6
    assert pooled([0, 1, 1, 1]) == (12 + 2 * 18 + 3 * 30) / 6
    assert pooled([1, 0, 1, 0]) == (6 + 2 * 18) / 3


def test_a_prompt_that_does_not_count_keeps_its_numbers():
    np.testing.assert_allclose(pooled([0, 1, 1, 0], seen=[1, 1, 1, 0]), (2 * 12 + 3 * 18) / 5)
    np.testing.assert_allclose(pooled([0, 0, 1, 1], seen=[0, 1, 1, 1]), (2 * 18 + 3 * 30) / 5)


def test_nothing_counts():
    assert pooled([0, 0, 0, 0], seen=[1, 1, 1, 1]) == 0

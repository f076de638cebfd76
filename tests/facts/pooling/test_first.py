import jax.numpy as jnp
import numpy as np

from jaxemb.pooling.first import First
from jaxemb.types import Features

TOKENS = jnp.arange(12.0).reshape(1, 4, 3)


def test_the_first_that_counts_whatever_stands_before():
    prefix = jnp.full((1, 1, 3), 7.0)
    for mask, row in (([1, 1, 0, 0], 0), ([0, 1, 1, 1], 1), ([0, 1, 0, 1], 1), ([0, 0, 0, 0], 0)):
        f = Features(TOKENS, jnp.array([mask], bool), prefix=prefix)
        np.testing.assert_array_equal(First().apply({}, f), TOKENS[:, row])

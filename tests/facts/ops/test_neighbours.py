import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.neighbours import most_similar, window_neighbours


def test_a_torus_has_all_neighbours():
    ids, valid = window_neighbours((6, 6), 3)
    assert ids.shape == (36, 8) and valid.all()
    np.testing.assert_array_equal(ids[0], [1, 5, 6, 7, 11, 30, 31, 35])
    np.testing.assert_array_equal(ids[14], [7, 8, 9, 13, 15, 19, 20, 21])
    assert window_neighbours((5, 7), 5)[0].shape == (35, 24)


def test_a_border_cuts_the_window():
    ids, valid = window_neighbours((3, 4), 3, wrap=False)
    assert valid.sum(1).tolist() == [3, 5, 5, 3, 5, 8, 8, 5, 3, 5, 5, 3]
    assert ids[0][valid[0]].tolist() == [1, 4, 5]


def test_the_most_similar_by_angle_whatever_the_length(key):
    """Patch 4, the centre of 3 x 3, points east; its neighbours turn away from that step by step and grow longer."""
    angle = jnp.array([0.8, 0.1, 0.7, 0.2, 0.0, 0.6, 0.3, 0.5, 0.4])
    x = (1 + 10 * angle)[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    chosen, valid = most_similar(x[None], *window_neighbours((3, 3), 3), 3)
    assert sorted(chosen[0, 4].tolist()) == [1, 3, 6] and valid.all()
    scaled, _ = most_similar(5 * x[None], *window_neighbours((3, 3), 3), 3)
    assert sorted(scaled[0, 4].tolist()) == [1, 3, 6]
    _, valid = most_similar(x[None], *window_neighbours((3, 3), 3, wrap=False), 5)
    assert valid[0].sum(1).tolist() == [3, 5, 3, 5, 5, 5, 3, 5, 3]  # a corner has three
    grads = jax.grad(lambda x: most_similar(x, *window_neighbours((3, 3), 3), 2)[0].astype(jnp.float32).sum())(x[None])
    assert not np.any(np.asarray(grads))


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="window=5 is larger than the grid of 4 x 8 patches"):
        window_neighbours((4, 8), 5)
    with pytest.raises(ConfigError, match="window=4 must be odd and at least 3"):
        window_neighbours((8, 8), 4)
    with pytest.raises(ConfigError, match="k=9 must lie in 1 to 8"):
        most_similar(jnp.ones((1, 36, 4)), *window_neighbours((6, 6), 3), 9)

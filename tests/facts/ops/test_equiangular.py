import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal

from jaxemb.config import ConfigError
from jaxemb.ops.equiangular import FACTORS, NotReached, coherence, generate, hinge, welch_bound
from jaxemb.ops.similarity import unit


def test_no_more_vectors_than_dimensions_can_be_orthogonal():
    basis = generate(5, 8)
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-6)
    assert welch_bound(5, 8) == 0 and float(hinge(basis, 1e-5)) == 0


def test_sets_that_reach_the_welch_bound():
    angles = jnp.deg2rad(jnp.array([0.0, 60.0, 120.0]))
    three = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    assert float(coherence(three)) == pytest.approx(0.5, rel=1e-6) and welch_bound(3, 2) == 0.5
    simplex = unit(jnp.eye(4) - 0.25)  # four points around the origin, of three dimensions
    assert float(coherence(simplex)) == pytest.approx(1 / 3, rel=1e-6) and welch_bound(4, 3) == pytest.approx(1 / 3)


def test_the_hinge_of_a_pair_counts_twice():
    pair = jnp.array([[1.0, 0.0], [0.8, 0.6]])
    assert float(hinge(pair, 0.5)) == pytest.approx(2 * 0.3, rel=1e-6)
    assert float(hinge(pair, 0.5, squared=True)) == pytest.approx(2 * 0.09, rel=1e-6)
    assert float(hinge(pair.at[1].multiply(-1), 0.5)) == pytest.approx(2 * 0.3, rel=1e-6)  # of |cosines|


@pytest.mark.parametrize(("alpha", "squared"), [(0.25, False), (0.16, True)])
def test_generated_vectors_keep_to_alpha(alpha, squared):
    basis = generate(200, 50, alpha)
    assert welch_bound(200, 50) <= float(coherence(basis)) <= alpha + 1e-4
    np.testing.assert_allclose(jnp.linalg.norm(basis, axis=1), 1, rtol=1e-5)
    drawn = unit(normal(0, 200, 50))
    assert float(coherence(basis)) < float(coherence(drawn)) / 2
    np.testing.assert_array_equal(basis, generate(200, 50, alpha, squared=squared))  # what it chooses, and the seed decides


def test_what_cannot_be():
    with pytest.raises(ConfigError, match=r"alpha=0.1 must lie in \[0.1228, 1\): 200 vectors in 50 dimensions"):
        generate(200, 50, 0.1)
    with pytest.raises(ConfigError, match="did not come below alpha=0.2 in 3 steps"):
        generate(200, 50, 0.2, steps=3)
    with pytest.raises(ConfigError, match="need count >= 2"):
        generate(1, 5)


@pytest.mark.parametrize(("count", "width"), [(40, 4), (40, 8)])
def test_without_a_goal_it_comes_as_near_as_it_can(count, width):
    """1.3 times the Welch bound cannot be had for every count and width; then the next of FACTORS is."""
    reached = float(coherence(generate(count, width)))
    allowed = [factor * welch_bound(count, width) + 1e-4 for factor in FACTORS]
    assert welch_bound(count, width) <= reached <= allowed[-1]
    with pytest.raises(NotReached, match=f"{count} vectors in {width} dimensions did not come below alpha="):
        generate(count, width, 1.02 * welch_bound(count, width), steps=50)

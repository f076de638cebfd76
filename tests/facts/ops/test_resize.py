import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.ops.resize import WAYS, resize, weights


@pytest.mark.parametrize("how", WAYS)
def test_rows_sum_to_one_and_the_same_grid_stays(how):
    np.testing.assert_allclose(weights(jnp.arange(7), 5, 7, how).sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights(jnp.arange(5), 5, 5, how), np.eye(5), atol=1e-6)
    table = jnp.arange(12.0).reshape(3, 4, 1)
    assert resize(table, (6, 5), how).shape == (6, 5, 1)


def test_closed_forms_of_four_cells_made_eight():
    """Cell 3 of 8 lies at 1.25 among the four: a quarter of the way from cell 1 to cell 2."""
    np.testing.assert_allclose(weights(jnp.array([3]), 4, 8, "bilinear"), [[0, 0.75, 0.25, 0]], atol=1e-6)
    np.testing.assert_allclose(
        weights(jnp.array([3]), 4, 8, "resample"), [[-0.0703125, 0.8671875, 0.2265625, -0.0234375]], atol=1e-6
    )
    taps = [-0.10546875, 0.87890625, 0.26171875, -0.03515625]  # Keys' kernel with a = -3/4 at 1.25, .25, .75 and 1.75
    np.testing.assert_allclose(weights(jnp.array([3]), 4, 8, "bicubic"), [taps], atol=1e-6)


def test_at_the_border_bicubic_repeats_the_last_cell_and_the_others_leave_it_out():
    """Cell 0 of 8 lies at -.25, between a cell that is not there and cell 0."""
    near, far = -0.03515625 + 0.26171875 + 0.87890625, -0.10546875
    np.testing.assert_allclose(weights(jnp.array([0]), 4, 8, "bicubic"), [[near, far, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(weights(jnp.array([0]), 4, 8, "bilinear"), [[1, 0, 0, 0]], atol=1e-6)


def test_antialiased_kinds_reach_further_when_shrinking():
    """Cell 0 of 2 lies at .5 among the four, and the triangle is two cells wide."""
    np.testing.assert_allclose(weights(jnp.array([0]), 4, 2, "bilinear"), [[3 / 7, 3 / 7, 1 / 7, 0]], atol=1e-6)
    assert np.count_nonzero(weights(jnp.array([1]), 16, 4, "bicubic")) == 4, "four taps whatever the factor"
    assert np.count_nonzero(weights(jnp.array([1]), 16, 4, "resample")) > 8


def test_each_cell_may_be_of_a_grid_of_its_own():
    both = weights(jnp.array([[1, 2], [1, 2]]), 4, jnp.array([[3, 3], [6, 6]]), "bilinear")
    for row, target in zip(both, (3, 6), strict=True):
        np.testing.assert_allclose(row, weights(jnp.array([1, 2]), 4, target, "bilinear"), atol=1e-6)

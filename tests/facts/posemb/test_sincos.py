import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.nn.stem import patch_positions
from jaxemb.posemb.base import Places
from jaxemb.posemb.sincos import SinCos, sincos


def test_closed_form_in_one_dimension():
    """d = 4, two waves: w = 1, 1/100."""
    row = sincos(jnp.array([[3.0]]), 4)[0]
    np.testing.assert_allclose(row, [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)], rtol=1e-6)


def test_first_half_is_the_column():
    x = sincos(patch_positions(jnp.arange(6), 3), 8)  # two rows of three columns
    np.testing.assert_allclose(x[0, :4], x[3, :4])  # same column
    np.testing.assert_allclose(x[0, 4:], x[1, 4:])  # same row
    assert not np.allclose(x[0, :4], x[1, :4]) and not np.allclose(x[0, 4:], x[3, 4:])


def test_rows_have_constant_length_and_dot_products_depend_on_the_distance():
    x = np.asarray(sincos(jnp.arange(20)[:, None], 32))
    np.testing.assert_allclose((x**2).sum(-1), 16, rtol=1e-5)
    gram = x @ x.T
    np.testing.assert_allclose(np.diag(gram, 3), gram[0, 3], rtol=1e-4)


def test_real_positions_lie_between_whole_ones():
    a, half, b = np.asarray(sincos(jnp.array([[1.0], [1.5], [2.0]]), 16))
    assert np.linalg.norm(half - a) < np.linalg.norm(b - a) and np.linalg.norm(half - b) < np.linalg.norm(b - a)


def test_adds_and_has_no_parameters(key):
    x, pos = jnp.ones((2, 3, 8)), jnp.zeros((2, 3, 2), jnp.int32)
    module = SinCos(axes=2)
    assert module.init(key, x, Places(pos), method="add") == {}
    np.testing.assert_allclose(
        module.apply({}, x, Places(pos), method="add")[0, 0], [1, 1, 2, 2, 1, 1, 2, 2]
    )  # sin 0 = 0, cos 0 = 1


def test_wrong_axes_and_widths_are_named():
    with pytest.raises(ConfigError, match=r"SinCos\(axes=1\) was given positions of 2 numbers"):
        SinCos(axes=1).apply({}, jnp.ones((1, 3, 8)), Places(jnp.zeros((1, 3, 2))), method="add")
    with pytest.raises(ConfigError, match="width 6 .* multiple of 4"):
        sincos(jnp.zeros((3, 2)), 6)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.posemb.cells.data import picture
from experiments.posemb.cells.stem import Cells
from jaxemb.config import ConfigError

CELLS = jnp.array([[[0, 0], [3, 4], [1, 2]], [[4, 0], [0, 4], [2, 2]]])


def test_tokens_are_colours_and_positions_are_cells():
    stem = Cells(size=5)
    params = stem.init(jax.random.key(0), CELLS, width=6)
    assert jax.tree.map(jnp.shape, params) == {"params": {"colours": (3, 6)}}
    tokens, pos = stem.apply(params, CELLS, width=6), stem.positions(CELLS)
    for example in tokens:
        np.testing.assert_array_equal(example, params["params"]["colours"])
    np.testing.assert_array_equal(pos, CELLS)
    wide = stem.init(jax.random.key(1), CELLS, width=4000)["params"]["colours"]
    assert float(wide.std()) == pytest.approx(1.0, rel=0.05)


def test_dtypes():
    stem = Cells(size=5)
    params = stem.init(jax.random.key(0), CELLS, width=6, dtype="bfloat16")
    assert params["params"]["colours"].dtype == jnp.float32
    assert stem.apply(params, CELLS, width=6, dtype="bfloat16").dtype == jnp.bfloat16


def test_the_picture_is_the_dense_form_with_one_pixel_a_cell():
    pictures = Cells(size=5).picture(CELLS)
    for got, cells in zip(pictures, np.asarray(CELLS)):
        np.testing.assert_array_equal(got, picture(cells, 5, 1))
    assert float(Cells(size=4).picture(CELLS).sum()) == 3, "cells outside the grid are not drawn"


def test_grid():
    assert Cells().grid((3, 2)) == (14, 14)


def test_bad_requests():
    with pytest.raises(ConfigError, match="Cells cannot keep a part"):
        Cells().init(jax.random.key(0), CELLS, width=4, keep=jnp.array([[0], [1]]))
    with pytest.raises(ConfigError, match="size must be at least 1, is 0"):
        Cells(size=0)

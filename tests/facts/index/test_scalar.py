"""Scores of codes are those of the rows they stand for; the better the more bits."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index import scalar
from jaxemb.index.scalar import Scalar
from jaxemb.ops.closeness import all_pairs
from jaxemb.ops.scalar_codes import GRIDS, decode, encode, fit_grid

R = np.random.default_rng(0)
X, Q = R.normal(size=(50, 7)).astype(np.float32), R.normal(size=(3, 7)).astype(np.float32)


@pytest.mark.parametrize(("bits", "grid", "similarity"), [(8, "range", "euclidean"), (4, "symmetric", "dot"), (4, "range", "dot")])
def test_scores_are_those_of_decoded_rows(bits, grid, similarity, monkeypatch):
    monkeypatch.setattr(scalar, "DECODED", 7 * 16)  # three blocks and a rest
    fitted = fit_grid(X, bits, grid)
    near = decode(encode(X, fitted, bits, grid), fitted)
    expected = all_pairs(Q, near, similarity)
    built = Scalar(similarity, bits, grid).build(X)
    found = built.search(Q, 50)
    np.testing.assert_allclose(found.scores, np.take_along_axis(expected, found.ids, 1), rtol=1e-4, atol=1e-4)
    assert built.nbytes() == (50 * 7 if bits == 8 else 50 * 4) + 2 * 7 * 4 + (50 * 4 if similarity == "euclidean" else 0)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_number_is_off_by_half_a_step_and_beyond_the_grid_it_has_the_last_code(grid):
    for bits in (4, 8):
        fitted = fit_grid(X, bits, grid)
        assert (np.abs(decode(encode(X, fitted, bits, grid), fitted) - X) <= 0.501 * fitted.step).all()
    far = encode(100 * np.sign(X), fitted, 8, grid)
    assert set(np.unique(far)) == ({1, 255} if grid == "symmetric" else {0, 255})


def test_a_dimension_that_never_changes_stays():
    flat = np.full((4, 2), 0.25, np.float32)
    for grid in GRIDS:
        fitted = fit_grid(flat, 8, grid)
        np.testing.assert_allclose(decode(encode(flat, fitted, 8, grid), fitted), flat, rtol=1e-6)


def test_settings_out_of_range():
    for wrong in ({"bits": 5}, {"grid": "log"}, {"sample": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Scalar(**wrong)

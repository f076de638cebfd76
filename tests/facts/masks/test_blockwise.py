"""Unit facts of the sampler, and what a user can get wrong."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.masks.blockwise import Blockwise
from jaxemb.ops.draws import Draws


def test_blockwise_masks_hide_a_fixed_number_in_rectangles():
    masks = Blockwise(ratio=0.4)
    out = masks((14, 14), Draws((0,), 64))
    assert out["context"].shape == (64, 1, 117) and out["targets"].shape == (64, 1, 79)  # int(196 * .6) stay
    hidden = np.zeros((64, 196), bool)
    np.put_along_axis(hidden, out["targets"][:, 0], True, axis=1)
    assert all(set(c) | set(t) == set(range(196)) for c, t in zip(out["context"][:, 0], out["targets"][:, 0], strict=True))
    maps = hidden.reshape(64, 14, 14)
    # In blocks a hidden patch's right neighbour is hidden far more often than the share of hidden ones.
    assert (maps[:, :, 1:] & maps[:, :, :-1]).sum() / maps[:, :, :-1].sum() > 0.6
    assert 0 < maps.mean(0).min() and maps.mean(0).max() < 0.8  # every place is hidden now and then


@pytest.mark.parametrize("fields", [{"smallest": 0}, {"aspect": 0.0}, {"aspect": 2.0}])
def test_blockwise_masks_refuse(fields):
    with pytest.raises(ConfigError, match="masks needs smallest >= 1 and aspect in"):
        Blockwise(**fields)


def test_blockwise_masks_on_any_grid():
    for grid in ((2, 2), (3, 9), (1, 8)):
        out = Blockwise(ratio=0.5)(grid, Draws((0,), 3))
        assert out["targets"].shape[2] == grid[0] * grid[1] - int(grid[0] * grid[1] * 0.5)

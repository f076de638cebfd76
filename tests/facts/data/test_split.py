"""Rows are held out by the share that is written, evenly spaced."""

import numpy as np
import pytest

from jaxemb.data.split import carve


@pytest.mark.parametrize(("count", "share", "held"), [(100, 0.29, 29), (100, 0.57, 57), (3, 1 / 3, 1), (10, 0.25, 2), (7, 0.0, 0)])
def test_the_share_is_not_cut_by_rounding(count, share, held):
    rows = carve(count, share)
    assert len(rows["valid"]) == held
    np.testing.assert_array_equal(np.sort(np.concatenate([*rows.values()])), np.arange(count))
    assert held < 2 or np.ptp(np.diff(rows["valid"])) <= 1, "evenly spaced"

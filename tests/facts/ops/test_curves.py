"""The unit facts of LOOPE, and of the curves themselves."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.ops.curves import ORDERS, gilbert, hilbert, morton, order, snake

GRIDS = [(1, 1), (1, 7), (6, 1), (4, 4), (7, 5), (5, 8), (14, 14), (6, 20), (13, 9), (9, 12)]


def steps(index):
    """Rows and columns gone from each visit to the next, n 2."""
    cells = np.argsort(index.reshape(-1))
    return np.abs(np.diff(np.stack(np.divmod(cells, index.shape[1]), axis=1), axis=0))


@pytest.mark.parametrize("shape", GRIDS, ids=str)
def test_every_cell_has_an_index(shape):
    for name in ORDERS.keys() - {"hilbert"}:
        index = order(name, *shape)
        assert index.shape == shape and index.dtype == np.int32
        assert sorted(index.reshape(-1)) == list(range(shape[0] * shape[1])), name
        assert index[0, 0] == 0, name


def test_neighbours_follow_each_other():
    for shape in GRIDS:
        assert (steps(snake(*shape)).sum(1) == 1).all()
    for rows in range(1, 21):
        for columns in range(1, 21):
            step = steps(gilbert(rows, columns))
            longer, shorter = max(rows, columns), min(rows, columns)
            diagonal = int((step.sum(1) == 2).sum())
            assert not len(step) or step.max() == 1
            assert diagonal <= (longer % 2 == 1 and shorter % 2 == 0), (rows, columns)


def test_gilbert_is_a_hilbert_curve_on_squares():
    for side in (1, 2, 4, 8, 16):
        assert any(np.array_equal(gilbert(side, side), h) for h in (hilbert(side, side), hilbert(side, side).T))


def test_hilbert_by_hand():
    assert hilbert(2, 2).tolist() == [[0, 3], [1, 2]]
    assert hilbert(4, 4).tolist() == [[0, 1, 14, 15], [3, 2, 13, 12], [4, 7, 8, 11], [5, 6, 9, 10]]
    assert hilbert(8, 8)[0, -1] == 63 and (steps(hilbert(8, 8)).sum(1) == 1).all()


def test_morton_interleaves_the_bits():
    assert morton(4, 4).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert morton(2, 3).tolist() == [[0, 1, 4], [2, 3, 5]], "rank of the codes 0 1 4, 2 3 6"
    assert morton(16, 16)[0b0110, 0b1001] == 0b01101001


def test_bad_requests():
    with pytest.raises(ConfigError, match="no order 'gilbrt'; did you mean 'gilbert'"):
        order("gilbrt", 4, 4)
    for shape in ((6, 6), (4, 8)):
        with pytest.raises(ConfigError, match=rf"2\^k cells a side, not {shape[0]} x {shape[1]}; gilbert serves any grid"):
            order("hilbert", *shape)
    for name in ORDERS:
        with pytest.raises(ConfigError, match=f"{name}: a grid needs rows and columns of at least 1, not 0 x 3"):
            order(name, 0, 3)


def test_nobody_can_change_what_others_get():
    assert order("snake", 3, 3) is order("snake", 3, 3)
    with pytest.raises(ValueError, match="read-only"):
        order("snake", 3, 3)[0, 0] = 5

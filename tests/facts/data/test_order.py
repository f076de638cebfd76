"""The order of rows in blocks."""

import numpy as np
import pytest

from jaxemb.data.order import BlockOrder, blocks_of


def starts(ends):
    return np.concatenate([[0], ends[:-1]])


@pytest.mark.parametrize("sizes, lanes", [((10,) * 8, 4), ((3, 9, 1, 5, 7), 4), ((5,), 3), ((2, 2), 7)])
def test_every_epoch_is_another_permutation(sizes, lanes):
    order = BlockOrder(np.cumsum(sizes), lanes, seed=3)
    first, second = ([order.row(e * order.count + i) for i in range(order.count)] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(sum(sizes))) and (first != second or order.count < 6)
    assert [order[i].epoch for i in (0, order.count - 1, order.count)] == [0, 0, 1]
    assert [BlockOrder(np.cumsum(sizes), lanes, 3).row(i) for i in range(order.count)] == first
    assert order.count < 6 or [BlockOrder(np.cumsum(sizes), lanes, 4).row(i) for i in range(order.count)] != first


def test_a_place_is_a_row_of_its_lane():
    order = BlockOrder(np.cumsum([4] * 6), 4, seed=0)
    line, ends = order._line(0)
    assert np.array_equal(ends, [4, 8, 12, 16, 20, 24])
    rows = np.concatenate([4 * b + order._within(0, int(b)) for b in line])  # blocks in their order, rows in theirs
    assert [order.row(i) for i in range(24)] == rows.reshape(4, 6).T.ravel().tolist()


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_processes_read_blocks_of_their_own(processes):
    order = BlockOrder(np.cumsum([10] * 64), 8, seed=1)
    read = [{order[i].block for i in range(p, order.count, processes)} for p in range(processes)]
    assert sum(map(len, read)) == 64  # 80 rows a lane: no block lies across an end
    longer = BlockOrder(np.cumsum([10] * 67), 8, seed=1)
    read = [{longer[i].block for i in range(p, longer.count, processes)} for p in range(processes)]
    assert 67 <= sum(map(len, read)) <= 67 + 7


def test_a_batch_comes_from_as_many_blocks_as_there_are_lanes():
    order = BlockOrder(np.cumsum([100] * 50), 10, seed=0)
    for first in (0, 1000, 3300):
        blocks = [order[i].block for i in range(first, first + 200)]
        assert 10 <= len(set(blocks)) <= 20 and max(map(blocks.count, set(blocks))) == 20


def test_blocks_of_some_rows():
    ends = np.array([4, 8, 9, 20])
    assert blocks_of(range(20), ends) is ends
    assert blocks_of(np.array([1, 2, 8, 15, 19]), ends).tolist() == [2, 3, 5]  # none of the second

"""What a row draws depends on its place alone, and shared and own numbers have nothing to do with each other."""

import numpy as np
import pytest

from jaxemb.masks.blockwise import Blockwise
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.masks.multi_block import MultiBlock
from jaxemb.masks.random_patches import RandomPatches
from jaxemb.ops.draws import Draws
from jaxemb.views.crops import CropViews

GRID = (8, 8)
SAMPLERS = [MultiBlock(min_keep=4), FixedBlocks(targets=4, size=(4, 4), context=16), RandomPatches(), Blockwise()]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("processes", [2, 4])
def test_a_mask_is_that_of_the_row_on_any_number_of_processes(sampler, processes):
    for step in range(3):
        whole = sampler(GRID, Draws((5, step), 16))
        for index in range(processes):
            own = sampler(GRID, Draws((5, step), 16 // processes, (index, processes)))
            assert own.keys() == whole.keys()
            for name in own:
                np.testing.assert_array_equal(own[name], whole[name][index::processes])


def test_a_view_is_that_of_the_row_on_any_number_of_processes():
    whole = CropViews().seeds(Draws((5, 1), 8))
    for processes in (1, 2, 4):
        for index in range(processes):
            np.testing.assert_array_equal(
                CropViews().seeds(Draws((5, 1), 8 // processes, (index, processes))), whole[index::processes]
            )


def test_own_and_shared_numbers_do_not_correlate():
    """The first of one and of the other, at each of many steps (before, those of process 0 were the same numbers)."""
    draws = [Draws((seed, step), 2) for seed in range(10) for step in range(200)]
    own, shared = np.array([d.random()[0] for d in draws]), np.array([d.shared.random() for d in draws])
    bound = 4.5 / np.sqrt(len(draws))
    assert abs(np.corrcoef(own, shared)[0, 1]) < bound
    steps = own.reshape(10, 200)
    assert abs(np.corrcoef(steps[:, 1:].ravel(), steps[:, :-1].ravel())[0, 1]) < bound
    rows = np.array([d.random(1)[:, 0] for d in draws])
    assert abs(np.corrcoef(rows.T)[0, 1]) < bound


def test_sizes_and_places_of_masks_do_not_correlate():
    """Height of a target block against the place of its corner within what is left (r = .585 where the streams were one)."""
    height, place = [], []
    for step in range(1500):
        rows = MultiBlock().draw((14, 14), Draws((0, step), 1))[1][0, 0] // 14
        height.append(int(rows.max() - rows.min()) + 1)
        place.append(int(rows.min()) / (14 - height[-1]))
    assert abs(np.corrcoef(height, place)[0, 1]) < 4.5 / np.sqrt(len(height))


def test_steps_and_seeds_draw_anew_and_the_same_ones_again():
    first = [Draws((seed, step), 3).random(4) for seed, step in ((0, 0), (0, 1), (1, 0))]
    assert len({x.tobytes() for x in first}) == 3
    np.testing.assert_array_equal(Draws((0, 1), 3).random(4), first[1])


def test_numbers_are_uniform():
    u = Draws((3,), 2000).random(50)
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / u.size) and abs(u.var() - 1 / 12) < 1e-3
    counts = np.bincount((u * 64).astype(int).ravel(), minlength=64)
    assert ((counts - u.size / 64) ** 2 / (u.size / 64)).sum() < 120  # chi squared with 63 degrees: 1e-5
    pairs = [np.corrcoef(u[:, a], u[:, b])[0, 1] for a, b in ((0, 1), (0, 49), (7, 8))]
    assert np.abs(pairs).max() < 4.5 / np.sqrt(len(u))
    n = Draws((3,), 2000).integers(2, 5, 3)
    assert set(np.unique(n)) == {2, 3, 4} and n.dtype == np.int64


def test_what_some_rows_draw_counts_for_all():
    draws = Draws((0,), 4)
    some = draws.take(np.array([1, 3])).random(2)
    again = Draws((0,), 4)
    np.testing.assert_array_equal(again.random(2)[[1, 3]], some)
    np.testing.assert_array_equal(draws.random(), again.random())

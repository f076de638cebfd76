"""Unit facts of the method, and what a user can get wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxemb.config import ConfigError
from jaxemb.ops.masks import Blockwise, FixedBlocks, MultiBlock


def rngs(seed=0):
    return np.random.default_rng(seed), np.random.default_rng([seed, 1])


def test_block_sizes_of_the_card():
    masks = MultiBlock()
    assert masks.target_size(0.0, (14, 14)) == (5, 6)  # n = 29: round(sqrt 21.75), round(sqrt 38.67)
    assert masks.target_size(1 - 1e-12, (14, 14)) == (8, 5)
    assert {masks.context_size(u, (14, 14)) for u in np.linspace(0, 0.999, 50)} == {(13, 13)}
    assert set(masks.sizes((14, 14))) == {(5, 6), (6, 5), (7, 5), (6, 6), (8, 5)}


def test_context_and_targets_are_disjoint_sorted_and_inside():
    masks = MultiBlock()
    context, targets = masks.draw((14, 14), 32, *rngs())
    for c, t in zip(context, targets, strict=True):
        assert not set(c) & set(t.ravel())
        assert (np.diff(c) > 0).all() and (np.diff(t, axis=-1) > 0).all()
    assert context.shape[1] <= 13 * 13 - targets.shape[2] and context.shape[1] > masks.min_keep


def test_last_row_and_column_are_left_out_unless_asked_for():
    def touched(**fields):
        seen = set()
        for seed in range(20):
            context, targets = MultiBlock(**fields).draw((14, 14), 16, *rngs(seed))
            seen |= set(context.ravel()) | set(targets.ravel())
        return {i for i in seen if i // 14 == 13 or i % 14 == 13}

    assert touched() == set()
    assert len(touched(include_last=True)) == 27


def test_target_blocks_are_full_rectangles():
    _, targets = MultiBlock().draw((12, 12), 4, *rngs())
    for ids in targets.reshape(-1, targets.shape[-1]):
        rows, columns = np.unique(ids // 12), np.unique(ids % 12)
        assert len(rows) * len(columns) == len(ids)
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(8, 16), columns=st.integers(8, 16), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_shapes_never_change(rows, columns, batch, seed):
    masks = MultiBlock(min_keep=4)
    a, b = (masks((rows, columns), batch, *rngs(s)) for s in (seed, seed + 1))
    assert {k: (v.shape, v.dtype) for k, v in a.items()} == {k: (v.shape, v.dtype) for k, v in b.items()}
    for out in (a, b):
        valid = out["targets"][out["targets_mask"]] if "targets_mask" in out else out["targets"].ravel()
        assert not set(out["context"][out["context_mask"]]) - set(range(rows * columns))
        assert len(valid) and valid.max() < rows * columns
        assert out["context_mask"].any(-1).all()


def test_full_length_context_is_the_released_distribution():
    masks = MultiBlock(context_tokens=13 * 13)
    context, targets = masks.draw((14, 14), 8, *rngs())
    fixed = masks((14, 14), 8, *rngs())
    for i in range(8):
        assert list(fixed["context"][i, 0][fixed["context_mask"][i, 0]]) == list(context[i])
        for j in range(4):
            assert list(fixed["targets"][i, j][fixed["targets_mask"][i, j]]) == list(targets[i, j])


def test_sizes_are_shared_between_processes_and_places_are_not():
    a = MultiBlock().draw((14, 14), 8, np.random.default_rng(1), np.random.default_rng(7))
    b = MultiBlock().draw((14, 14), 8, np.random.default_rng(2), np.random.default_rng(7))
    assert a[1].shape == b[1].shape and not np.array_equal(a[1], b[1])


def test_impossible_masks_say_which_numbers_can():
    with pytest.raises(ConfigError, match=r"min_keep=10 .* 8 x 8 grid .* as few as 9 patches.*at most 8"):
        MultiBlock()((8, 8), 2, *rngs())
    with pytest.raises(ConfigError, match="at least 2 x 2"):
        MultiBlock()((1, 5), 2, *rngs())
    with pytest.raises(ConfigError, match="masks.scale"):
        MultiBlock(scale=(0.3, 0.2))
    with pytest.raises(ConfigError, match="masks.targets"):
        MultiBlock(targets=0)


def test_a_context_that_the_targets_eat_up_may_overlap_in_the_end():
    """Four targets of 36 of 64 patches leave less than 30 patches always: after 20 failures a target is let go."""
    masks = MultiBlock(scale=(0.55, 0.56), aspect=(1.0, 1.0), min_keep=30)
    context, targets = masks.draw((8, 8), 2, *rngs())
    assert context.shape[1] > 30
    assert any(set(c) & set(t.ravel()) for c, t in zip(context, targets, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    targets=st.integers(1, 4), height=st.integers(1, 3), width=st.integers(1, 3), context=st.integers(1, 7), seed=st.integers(0, 99)
)
def test_fixed_blocks(targets, height, width, context, seed):
    masks = FixedBlocks(targets=targets, size=(height, width), context=context)
    out = masks((4, 4), 5, *rngs(seed))
    assert out["context"].shape == (5, 1, context) and out["targets"].shape == (5, targets, height * width)
    for c, t in zip(out["context"][:, 0], out["targets"], strict=True):
        assert not set(c) & set(t.ravel()) and len(set(c)) == context
        assert all(np.ptp(ids // 4) == height - 1 and np.ptp(ids % 4) == width - 1 for ids in t)


def test_fixed_blocks_reach_every_patch():
    out = FixedBlocks()((4, 4), 200, *rngs())
    assert set(out["targets"].ravel()) == set(out["context"].ravel()) == set(range(16))


def test_fixed_blocks_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"size=\(5, 2\) is larger than the grid of 4 x 4"):
        FixedBlocks(size=(5, 2))((4, 4), 1, *rngs())
    with pytest.raises(ConfigError, match="leaves at most 12"):
        FixedBlocks(context=13)((4, 4), 1, *rngs())
    with pytest.raises(ConfigError, match="at least 1"):
        FixedBlocks(targets=0)


def test_blockwise_masks_hide_a_fixed_number_in_rectangles():
    masks = Blockwise(ratio=0.4)
    out = masks((14, 14), 64, *rngs())
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
        out = Blockwise(ratio=0.5)(grid, 3, *rngs())
        assert out["targets"].shape[2] == grid[0] * grid[1] - int(grid[0] * grid[1] * 0.5)

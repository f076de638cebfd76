"""Unit facts of the sampler, and what a user can get wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxemb.config import ConfigError
from jaxemb.masks.multi_block import MultiBlock
from jaxemb.ops.draws import Draws


def test_block_sizes_of_the_card():
    masks = MultiBlock()
    assert masks.target_size(0.0, (14, 14)) == (5, 6)  # n = 29: round(sqrt 21.75), round(sqrt 38.67)
    assert masks.target_size(1 - 1e-12, (14, 14)) == (8, 5)
    assert {masks.context_size(u, (14, 14)) for u in np.linspace(0, 0.999, 50)} == {(13, 13)}
    assert set(masks.sizes((14, 14))) == {(5, 6), (6, 5), (7, 5), (6, 6), (8, 5)}


def test_context_and_targets_are_disjoint_sorted_and_inside():
    masks = MultiBlock()
    context, targets = masks.draw((14, 14), Draws((0,), 32))
    for c, t in zip(context, targets, strict=True):
        assert not set(c) & set(t.ravel())
        assert (np.diff(c) > 0).all() and (np.diff(t, axis=-1) > 0).all()
    assert context.shape[1] <= 13 * 13 - targets.shape[2] and context.shape[1] > masks.min_keep


def test_last_row_and_column_are_left_out_unless_asked_for():
    def touched(**fields):
        seen = set()
        for seed in range(20):
            context, targets = MultiBlock(**fields).draw((14, 14), Draws((seed,), 16))
            seen |= set(context.ravel()) | set(targets.ravel())
        return {i for i in seen if i // 14 == 13 or i % 14 == 13}

    assert touched() == set()
    assert len(touched(include_last=True)) == 27


def test_target_blocks_are_full_rectangles():
    _, targets = MultiBlock().draw((12, 12), Draws((0,), 4))
    for ids in targets.reshape(-1, targets.shape[-1]):
        rows, columns = np.unique(ids // 12), np.unique(ids % 12)
        assert len(rows) * len(columns) == len(ids)
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all()


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(8, 16), columns=st.integers(8, 16), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_shapes_never_change(rows, columns, batch, seed):
    masks = MultiBlock(min_keep=4)
    a, b = (masks((rows, columns), Draws((s,), batch)) for s in (seed, seed + 1))
    assert {k: (v.shape, v.dtype) for k, v in a.items()} == {k: (v.shape, v.dtype) for k, v in b.items()}
    for out in (a, b):
        valid = out["targets"][out["targets_mask"]] if "targets_mask" in out else out["targets"].ravel()
        assert not set(out["context"][out["context_mask"]]) - set(range(rows * columns))
        assert len(valid) and valid.max() < rows * columns
        assert out["context_mask"].any(-1).all()


def test_full_length_context_is_the_released_distribution():
    masks = MultiBlock(context_tokens=13 * 13)
    context, targets = masks.draw((14, 14), Draws((0,), 8))
    fixed = masks((14, 14), Draws((0,), 8))
    for i in range(8):
        assert list(fixed["context"][i, 0][fixed["context_mask"][i, 0]]) == list(context[i])
        for j in range(4):
            assert list(fixed["targets"][i, j][fixed["targets_mask"][i, j]]) == list(targets[i, j])


def test_sizes_are_shared_between_processes_and_places_are_not():
    a = MultiBlock().draw((14, 14), Draws((7,), 8, (0, 2)))
    b = MultiBlock().draw((14, 14), Draws((7,), 8, (1, 2)))
    assert a[1].shape == b[1].shape and not np.array_equal(a[1], b[1])


def test_impossible_masks_say_which_numbers_can():
    with pytest.raises(ConfigError, match=r"min_keep=10 .* 8 x 8 grid .* as few as 9 patches.*at most 8"):
        MultiBlock()((8, 8), Draws((0,), 2))
    with pytest.raises(ConfigError, match="at least 2 x 2"):
        MultiBlock()((1, 5), Draws((0,), 2))
    with pytest.raises(ConfigError, match="masks.scale"):
        MultiBlock(scale=(0.3, 0.2))
    with pytest.raises(ConfigError, match="masks.targets"):
        MultiBlock(targets=0)


def test_a_context_that_the_targets_eat_up_may_overlap_in_the_end():
    """Four targets of 36 of 64 patches leave less than 30 patches always: after 20 failures a target is let go."""
    masks = MultiBlock(scale=(0.55, 0.56), aspect=(1.0, 1.0), min_keep=30)
    context, targets = masks.draw((8, 8), Draws((0,), 2))
    assert context.shape[1] > 30
    assert any(set(c) & set(t.ravel()) for c, t in zip(context, targets, strict=True))

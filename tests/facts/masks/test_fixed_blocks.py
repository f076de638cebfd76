"""Unit facts of the sampler, and what a user can get wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxemb.config import ConfigError
from jaxemb.masks.fixed_blocks import FixedBlocks
from jaxemb.ops.draws import Draws


@settings(max_examples=25, deadline=None)
@given(
    targets=st.integers(1, 4), height=st.integers(1, 3), width=st.integers(1, 3), context=st.integers(1, 7), seed=st.integers(0, 99)
)
def test_fixed_blocks(targets, height, width, context, seed):
    masks = FixedBlocks(targets=targets, size=(height, width), context=context)
    out = masks((4, 4), Draws((seed,), 5))
    assert out["context"].shape == (5, 1, context) and out["targets"].shape == (5, targets, height * width)
    for c, t in zip(out["context"][:, 0], out["targets"], strict=True):
        assert not set(c) & set(t.ravel()) and len(set(c)) == context
        assert all(np.ptp(ids // 4) == height - 1 and np.ptp(ids % 4) == width - 1 for ids in t)


def test_fixed_blocks_reach_every_patch():
    out = FixedBlocks()((4, 4), Draws((0,), 200))
    assert set(out["targets"].ravel()) == set(out["context"].ravel()) == set(range(16))


def test_fixed_blocks_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"size=\(5, 2\) is larger than the grid of 4 x 4"):
        FixedBlocks(size=(5, 2))((4, 4), Draws((0,), 1))
    with pytest.raises(ConfigError, match="leaves at most 12"):
        FixedBlocks(context=13)((4, 4), Draws((0,), 1))
    with pytest.raises(ConfigError, match="at least 1"):
        FixedBlocks(targets=0)

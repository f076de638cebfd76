"""Unit facts of the sampler, and what a user can get wrong."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.masks.random_patches import RandomPatches
from jaxemb.ops.draws import Draws


def test_every_patch_is_seen_or_hidden_and_all_alike_often():
    drawn = RandomPatches(ratio=0.75)((4, 4), Draws((0,), 4000))
    context, targets = drawn["context"][:, 0], drawn["targets"][:, 0]
    assert context.shape == (4000, 4) and targets.shape == (4000, 12)
    assert (np.sort(np.concatenate([context, targets], axis=1)) == np.arange(16)).all()
    assert (np.diff(context) > 0).all() and (np.diff(targets) > 0).all()
    seen = np.bincount(context.ravel(), minlength=16) / 4000
    assert (abs(seen - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5).all()


def test_a_share_that_leaves_nothing_says_which_can():
    with pytest.raises(ConfigError, match="leaves 0 of the 16 patches .* 0.001 to 0.937 can be"):
        RandomPatches(ratio=0.99).visible((4, 4))
    with pytest.raises(ConfigError, match="masks.ratio must be above 0 and below 1, is 1"):
        RandomPatches(ratio=1.0)

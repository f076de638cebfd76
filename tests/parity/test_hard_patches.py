"""HPM's schedule, masks, losses and momentum against the reference functions (vision_hpm.npz): every array of the file."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.masks.random_patches import RandomPatches
from jaxemb.objectives.hard_patches import absolute_loss, hard_counts, hard_mask, relative_loss
from jaxemb.train.step import momentum_at


@pytest.fixture
def arrays(load):
    return load("vision_hpm.npz")


def test_how_many_are_hard(arrays):
    cases = {k: m for k in arrays if (m := re.fullmatch(r"hard_count_L(\d+)_T(\d+)_g(\d+)", k))}
    assert cases
    for name, match in cases.items():
        cells, steps, ratio = int(match[1]), int(match[2]), int(match[3]) / 100
        visible = RandomPatches(ratio).visible((1, cells))
        kept = arrays.get(f"len_keep_L{match[1]}_g{match[3]}")
        assert kept is None or visible == int(kept), name
        np.testing.assert_array_equal(hard_counts(cells - visible, steps, (0.0, 0.5)), arrays[name], err_msg=name)


def test_losses_and_gradient(arrays, precision):
    s, true = precision.array(arrays["loss_pred"]), precision.array(arrays["loss_target"])
    value, g = jax.value_and_grad(relative_loss)(s, true)
    precision.check(value, arrays["relative_loss"], "relative_loss")
    precision.check(g, arrays["relative_grad"], "relative_grad")
    precision.check(absolute_loss(s, true), arrays["absolute_loss"], "absolute_loss")
    assert int((true[:, :, None] != true[:, None, :]).sum()) == int(arrays["n_valid_pairs"])


def test_masks(arrays, precision):
    h, ratio = precision.array(arrays["mask_pred"]), float(arrays["mask_ratio"])
    n = h.shape[1]
    hidden = n - RandomPatches(ratio).visible((1, n))
    assert hidden == int(arrays["mask_n_masked"])
    count = hard_counts(hidden, int(arrays["mask_total_epoch"]), (0.0, 0.5))[int(arrays["mask_epoch"])]
    must = arrays["mask_must_be_masked"]
    assert count == must.shape[1]
    for seed in range(3):
        noise = jax.random.uniform(jax.random.key(seed), h.shape, h.dtype)
        keep, ids = hard_mask(h, noise, jnp.asarray(count, jnp.int32), hidden)
        assert ids.shape == (len(h), hidden)
        for row, rest, hardest in zip(np.asarray(ids), np.asarray(keep), must, strict=True):
            assert set(hardest) <= set(row) and set(row) | set(rest) == set(range(n))


def test_momentum_of_the_teacher(arrays, precision):
    expected = arrays["ema_decay_epoch0_149"]
    ours = [momentum_at(min(e, 100), (0.999, 0.9999), 100) for e in range(len(expected))]
    precision.check(ours, expected, "ema_decay_epoch0_149")

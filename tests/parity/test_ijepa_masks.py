"""The multi-block sampler against the reference: sizes exactly, distributions within standard errors (core_ijepa_masks.npz)."""

import re

import numpy as np
import pytest

from jaxemb.masks.multi_block import MultiBlock
from jaxemb.ops.draws import Draws

FILE = "core_ijepa_masks.npz"


def grids(arrays):
    return {int(m[1]) for k in arrays if (m := re.fullmatch(r"g(\d+)_u", k))}


def sampler(grid):
    return MultiBlock(min_keep=4 if grid <= 8 else 10)  # as the README of the file states


def test_block_sizes_exactly(load):
    arrays = load(FILE)
    assert grids(arrays), f"{FILE} holds no grid"
    for g in grids(arrays):
        masks, draws = sampler(g), arrays[f"g{g}_u"]
        assert [masks.target_size(u, (g, g)) for u in draws] == [tuple(x) for x in arrays[f"g{g}_pred_hw"]]
        assert [masks.context_size(u, (g, g)) for u in draws] == [tuple(x) for x in arrays[f"g{g}_enc_hw"]]


@pytest.fixture(scope="module")
def sampled():
    """2000 images in batches of 8, as the file was made: coverage, corners and lengths."""

    def draw(g, batches=1000):
        masks = sampler(g)
        context, target, corner = np.zeros(g * g), np.zeros(g * g), np.zeros(g * g)
        lengths, overlap = [], 0
        for i in range(batches):
            c, t = masks.draw((g, g), Draws((0, i), 8))
            lengths.append((c.shape[1], t.shape[2]))
            np.add.at(context, c, 1)
            np.add.at(target, t, 1)
            np.add.at(corner, t[:, :, 0], 1)
            overlap += sum(len(np.intersect1d(a, b)) for a, b in zip(c, t, strict=True))
        n = 8 * batches
        return context / n, target / (4 * n), corner / (4 * n), np.array(lengths), overlap, n

    return draw


def close(ours, theirs, n_ours, n_theirs, what):
    """Within 4.5 standard errors of the difference of two frequencies (some hundred cells are looked at), neighbours in an image
    being dependent: a block counts as one draw a batch in the worst case, hence the counts given are those of batches."""
    p = (ours * n_ours + theirs * n_theirs) / (n_ours + n_theirs)
    error = np.sqrt(np.maximum(p * (1 - p), 1e-4) * (1 / n_ours + 1 / n_theirs))
    assert (np.abs(ours - theirs) < 4.5 * error).all(), f"{what}: {np.abs(ours - theirs).max()}"


def test_distributions(load, sampled):
    arrays = load(FILE)
    for g in grids(arrays):
        context, target, corner, lengths, overlap, n = sampled(g)
        batches = len(arrays[f"g{g}_ctx_len"])
        close(context, arrays[f"g{g}_ctx_cover"].ravel(), n / 8, batches, "context coverage")
        close(target, arrays[f"g{g}_tgt_cover"].ravel(), n / 8, batches, "target coverage")
        close(corner, arrays[f"g{g}_tgt_topleft"].ravel(), n / 8, batches, "corners")
        assert overlap == int(arrays[f"g{g}_overlap"]) == 0
        for ours, theirs in zip(lengths.T, (arrays[f"g{g}_ctx_len"], arrays[f"g{g}_tgt_len"]), strict=True):
            error = np.hypot(ours.std() / len(ours) ** 0.5, theirs.std() / len(theirs) ** 0.5)
            assert abs(ours.mean() - theirs.mean()) < 4 * error
            assert set(theirs) <= set(range(ours.min() - 8, ours.max() + 9))

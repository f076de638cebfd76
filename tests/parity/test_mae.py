"""MAE's targets, losses and position table against the reference functions (vision_mae.npz): every array of the file."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.stem import Patches, patch_positions, patchify
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.mae import MAE, standardise
from jaxemb.posemb.sincos import sincos


@pytest.fixture
def arrays(load):
    return load("vision_mae.npz")


def images(arrays):
    return arrays["imgs_nchw"].transpose(0, 2, 3, 1)


def test_patches_and_their_normalisation(arrays, precision):
    patches = patchify(precision.array(images(arrays)), int(arrays["patch"]))
    precision.check(patches, arrays["patches"], "patches")
    target = standardise(patches)
    precision.check(target, arrays["target_norm"], "target_norm")
    assert np.abs(np.asarray(target) - arrays["target_norm_ddof0_WRONG"]).max() > 1e-3


def test_losses(arrays, precision):
    encoder = Transformer(stem=Patches(int(arrays["patch"])), width=16, depth=1, blocks=(Block(Attention(2)),), **precision.dtypes)
    model = MAE(encoder=encoder, decoder=Decoder(width=16, depth=1, blocks=(Block(Attention(2)),)))
    x, pred, mask = precision.array(images(arrays)), precision.array(arrays["pred"]), arrays["mask"]
    every = jnp.broadcast_to(jnp.arange(mask.shape[1])[None], mask.shape)
    precision.check(model._error(x, every, pred), arrays["per_patch_loss"], "per_patch_loss")
    hidden = jnp.asarray([np.flatnonzero(row) for row in mask])
    shown = jnp.take_along_axis(pred, hidden[:, :, None], axis=1)
    precision.check(model._error(x, hidden, shown).mean(), arrays["loss_norm"], "loss_norm")
    precision.check(model.clone(norm_pixels=False)._error(x, hidden, shown).mean(), arrays["loss_raw"], "loss_raw")


def test_positions(arrays, precision):
    grid, width = int(arrays["sincos_grid"]), int(arrays["sincos_dim"])
    pos = patch_positions(jnp.arange(grid**2), grid)
    table = sincos(precision.array(np.asarray(pos, float)), width)
    precision.check(table, arrays["sincos_pos"][1:], "sincos_pos")
    assert (arrays["sincos_pos"][0] == 0).all()  # the class token has no position

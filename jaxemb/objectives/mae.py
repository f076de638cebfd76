"""MAE: reconstruct the pixels of hidden patches from a few visible ones."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxemb.masks.random_patches import RandomPatches
from jaxemb.nn.decoder import Decoder
from jaxemb.nn.stem import patch_positions, patchify
from jaxemb.objectives.patches import _OfPatches
from jaxemb.ops.dtypes import wide
from jaxemb.ops.regression import squared
from jaxemb.types import Batch, Loss, Now, Paper


class MAE(_OfPatches):
    """Masked autoencoder (He et al., CVPR 2022): the encoder computes visible patches alone, a small decoder the hidden ones.

        target   y = pixels of a patch (row, column, channel), minus their mean, over sqrt(var + 1e-6), var with divisor q - 1
        loss     mean over hidden patches and their q values of (decoder(encoder(visible), places) - y)^2

    The batch holds `images` (b H W c), and from the sampler `context` (b 1 k) and `targets` (b 1 n), visible and hidden patches.
    The published encoder has a class token (`class_token=True`, which the decoder sees too) and `kernel_init="xavier"`.
    """

    paper: ClassVar[Paper | None] = Paper("Masked Autoencoders Are Scalable Vision Learners", 2022, "arxiv.org/abs/2111.06377")

    decoder: Decoder = field(default_factory=Decoder)
    masks: RandomPatches = field(default_factory=RandomPatches)
    norm_pixels: bool = True
    """Normalise the pixels of each patch; False: they are the target as they are."""

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        hidden = batch["targets"][:, 0]
        error = self._error(batch["images"], hidden, self.predict(batch, train=True))
        return Loss(error.mean())

    def predict(self, batch: Batch, *, train: bool = False) -> Float[Array, "b n q"]:
        """The decoder's numbers for each hidden patch."""
        keep, hidden = batch["context"][:, 0], batch["targets"][:, 0]
        return self._decode(batch["images"], keep, hidden, ("pixels",), train)[0]

    def reconstruct(self, batch: Batch) -> Float[Array, "b n q"]:
        """All patches in raster order, as pixels: those that were hidden as predicted, the others as they are. For pictures."""
        hidden = batch["targets"][:, 0]
        patches = self._patches(batch["images"])
        p = self.predict(batch).astype(patches.dtype)
        if self.norm_pixels:  # the mean and the scale of a hidden patch are not predicted: those of the image are shown
            mean, scale = moments(jnp.take_along_axis(patches, hidden[:, :, None], axis=1))
            p = p * scale + mean
        return patches.at[jnp.arange(len(hidden))[:, None], hidden].set(p)

    def _error(self, images: Array, hidden: Int[Array, "b n"], p: Float[Array, "b n q"]) -> Float[Array, "b n"]:
        wanted = jnp.take_along_axis(self._patches(images), hidden[:, :, None], axis=1)
        wanted = standardise(wanted) if self.norm_pixels else wanted
        return squared(p.astype(wanted.dtype), wanted).mean(-1)

    def _decode(
        self, images: Array, keep: Array | None, hidden: Array | None, branches: tuple[str, ...], train: bool
    ) -> tuple[Array, ...]:
        """What branches of the decoder say of the hidden patches; with neither `keep` nor `hidden`, of all patches, all visible."""
        grid = self._grid(images)
        seen = self.encoder(images, keep=keep, train=train)
        visible = patch_positions(jnp.arange(grid[0] * grid[1])[None] if keep is None else keep, grid[1])
        places = None if hidden is None else patch_positions(hidden, grid[1])
        outputs = self._size**2 * images.shape[-1]
        return self.decoder(seen, visible, places, outputs=outputs, branches=branches, grid=grid, train=train)

    def _patches(self, images: Array) -> Float[Array, "b n q"]:
        return patchify(images.astype(wide(images)), self._size)


def moments(x: Float[Array, "*n q"]) -> tuple[Float[Array, "*n 1"], Float[Array, "*n 1"]]:
    """(mean, sqrt(var + 1e-6)) along the last axis, var with divisor q - 1."""
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).sum(-1, keepdims=True) / max(x.shape[-1] - 1, 1)
    return mean, jnp.sqrt(var + 1e-6)


def standardise(x: Float[Array, "*n q"]) -> Float[Array, "*n q"]:
    """(x - mean) / sqrt(var + 1e-6) along the last axis; zeros where it is constant."""
    mean, scale = moments(x)
    return (x - mean) / scale

"""data2vec: where patches are masked, predict what an average of the encoder makes of the whole image."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.layers.dense import Dense
from jaxemb.masks.blockwise import Blockwise
from jaxemb.masks.random_patches import RandomPatches
from jaxemb.objectives.base import last_layers, spread
from jaxemb.objectives.patches import _OfPatches
from jaxemb.ops.draws import Draws
from jaxemb.ops.regression import smooth_l1
from jaxemb.types import Batch, Loss, Now, Paper


class Data2Vec(_OfPatches):
    """Masked prediction of features by the encoder itself, from an EMA teacher, for images (Baevski et al., ICML 2022).

        targets     y = mean over the last K layers of LayerNorm(layer of the teacher(image)), without affine, eps 1e-5; no gradient
        prediction  p = W encoder(image whose hidden patches are all one trained patch) + b
        loss        mean over hidden patches and features of smooth_l1(p - y), with beta

    Beside I-JEPA: the encoder sees all places, masked ones too, which costs a whole forward pass, and there is no predictor. The
    paper's mask token stands behind the projection of the patches; here a patch of pixels stands before it, which reaches every
    token where a patch has as many values as a token. Layers are taken after the block; the paper takes the output of its
    feed-forward part, before the sum. Parameters: encoder, `mask_patch` (size, size, c), `head` (d, d).

    The batch holds `images` (b H W c), and from the sampler `targets` (b 1 n), the hidden patches. Needs an experiment with `ema`.
    (Share, beta and layers of the paper's ViT-B are from memory: unverified.)
    """

    paper: ClassVar[Paper | None] = Paper(
        "data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language",
        2022,
        "arxiv.org/abs/2202.03555",
    )
    teacher: ClassVar[bool] = True

    masks: RandomPatches = field(default_factory=lambda: Blockwise(0.6))
    target_layers: int = 4
    """The last layers that targets are the mean of (K); 6 of 12 in the paper's ViT-B."""
    beta: float = 2.0
    """Error of a feature from which on the loss is linear."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_target_layers(self.target_layers)
        if self.beta <= 0:
            raise ConfigError(f"Data2Vec.beta must be above 0, is {self.beta}")

    def _drawn(self, grid: tuple[int, int], draws: Draws) -> dict[str, np.ndarray]:
        return {"targets": self.masks(grid, draws)["targets"]}

    def targets(self, batch: Batch, now: Now) -> Float[Array, "b n d"]:
        """The teacher's features of every patch of the full image."""
        return last_layers(self.encoder, batch["images"], self.target_layers)

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        wanted = jnp.take_along_axis(targets, batch["targets"][:, 0, :, None], axis=1)
        predicted = self.predict(batch, train=True).astype(wanted.dtype)
        return Loss(smooth_l1(predicted, wanted, self.beta).mean(), logs=spread(targets))

    @nn.compact
    def predict(self, batch: Batch, *, train: bool = False) -> Float[Array, "b n d"]:
        """Predicted features of every hidden patch."""
        images, hidden = batch["images"], batch["targets"][:, 0]
        size, (rows, columns) = self._size, self._grid(images)
        patch = self.param("mask_patch", nn.initializers.zeros, (size, size, images.shape[-1]), jnp.float32)
        masked = jnp.zeros((len(images), rows * columns), bool).at[jnp.arange(len(images))[:, None], hidden].set(True)
        masked = masked.reshape(-1, rows, columns).repeat(size, axis=1).repeat(size, axis=2)[..., None]
        images = jnp.where(masked, jnp.tile(patch, (rows, columns, 1)).astype(images.dtype)[None], images)
        tokens = self.encoder(images, train=train).tokens
        tokens = jnp.take_along_axis(tokens, hidden[:, :, None], axis=1)
        return Dense(tokens.shape[-1], name="head")(tokens)

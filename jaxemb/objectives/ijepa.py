"""I-JEPA: predict the features of hidden blocks of an image from those of visible patches."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.norms import normalise
from jaxemb.masks.base import Masks
from jaxemb.masks.multi_block import MultiBlock
from jaxemb.nn.predictor import Predictor
from jaxemb.nn.stem import patch_positions
from jaxemb.objectives.base import last_layers, spread
from jaxemb.objectives.patches import _OfPatches
from jaxemb.ops.allow import Allow
from jaxemb.ops.dtypes import wide
from jaxemb.ops.regression import smooth_l1, squared
from jaxemb.ops.sigreg import random_directions, sigreg
from jaxemb.types import Batch, Features, Loss, Now, Paper

SLICES = 1024
"""Random directions of SIGReg."""
LOSSES = {"smooth_l1": smooth_l1, "l2": squared}


class IJEPA(_OfPatches):
    """Masked prediction in feature space, with an EMA teacher and no augmentation by hand (Assran et al., CVPR 2023).

        targets     y = LayerNorm(teacher(image)), without affine, eps 1e-5; all patches attend; no gradient
        prediction  p = predictor(encoder(context patches), places of the target patches)
        loss        mean of smooth_l1(p - y) over target patches and features

    The batch holds `images` (b H W c), and from the sampler `context` (b m k), `targets` (b t n) and masks for padding.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", 2023, "arxiv.org/abs/2301.08243"
    )
    teacher: ClassVar[bool] = True

    predictor: Predictor = field(default_factory=Predictor)
    masks: Masks = field(default_factory=MultiBlock)
    loss_name: str = "smooth_l1"
    """"smooth_l1" as in the released code, "l2" as in the paper's text."""
    joint: bool = False
    """All target blocks of an image in one predictor sequence, instead of one sequence each (as released)."""
    target_layers: int = 1
    """Targets are the mean over this many last layers, each normalised; 1 is the paper's."""
    sigreg: float = 0.0
    """Weight of SIGReg (`ops/sigreg.py`), added to the loss against collapse: .02 to .05 in LeJEPA."""
    sigreg_on: str = "pooled"
    """"pooled": on the pooled context features of an image; "tokens": on those of its visible patches, a row each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, loss_name=LOSSES, sigreg_on=("pooled", "tokens"))
        self._check_target_layers(self.target_layers)
        if self.sigreg < 0:
            raise ConfigError(f"sigreg must not be negative, is {self.sigreg}")

    def needs_average(self) -> bool:
        return not self.sigreg  # which keeps it from collapse without a teacher

    def targets(self, batch: Batch, now: Now) -> Float[Array, "b n d"]:
        """The teacher's features of every patch of the full image."""
        if self.target_layers == 1:
            return normalise(self.encoder(batch["images"]).tokens, 1e-5)
        return last_layers(self.encoder, batch["images"], self.target_layers)

    def loss(self, batch: Batch, targets: Any, now: Now) -> Loss:
        places = batch["targets"]
        b, t, n = places.shape
        wanted = jnp.take_along_axis(targets, places.reshape(b, t * n, 1), axis=1).reshape(b, 1, t, n, -1)
        predicted = self.predict(batch, train=True).astype(wanted.dtype)
        error = LOSSES[self.loss_name](predicted, jnp.broadcast_to(wanted, predicted.shape)).mean(-1)
        if "targets_mask" in batch:
            asked = batch["targets_mask"][:, None].astype(error.dtype)
            weight = asked.sum()
            value = (error * asked).sum() / (jnp.maximum(weight, 1) * error.shape[1])
        else:
            value, weight = error.mean(), 1.0
        return Loss(value, weight, spread(targets))

    def predict(self, batch: Batch, *, train: bool = False) -> Float[Array, "b m t n d"]:
        """Predicted features of every target patch, from each of the m contexts of an image."""
        context, places = batch["context"], batch["targets"]
        b, m, k = context.shape
        t, n = places.shape[1:]
        context_mask = batch.get("context_mask")
        seen = None if context_mask is None else context_mask.reshape(b * m, k)
        images = jnp.repeat(batch["images"], m, axis=0) if m > 1 else batch["images"]
        context = context.reshape(b * m, k)
        f = self.encoder(images, keep=context, allow=Allow(seen), train=train)
        if self.sigreg and train:
            self._regularise(f)
        z = self._refine(f.tokens, seen)
        places = jnp.repeat(places, m, axis=0)
        asked = batch.get("targets_mask")
        asked = None if asked is None else jnp.repeat(asked, m, axis=0)
        if self.joint:
            places, asked = places.reshape(b * m, t * n), None if asked is None else asked.reshape(b * m, t * n)
        else:  # a sequence for each target block: the context is repeated
            z, context = jnp.repeat(z, t, axis=0), jnp.repeat(context, t, axis=0)
            seen = None if seen is None else jnp.repeat(seen, t, axis=0)
            places, asked = places.reshape(b * m * t, n), None if asked is None else asked.reshape(b * m * t, n)
        grid = self._grid(batch["images"])
        p = self.predictor(
            z,
            patch_positions(context, grid[1]),
            patch_positions(places, grid[1]),
            grid=grid,
            context_mask=seen,
            target_mask=asked,
            train=train,
        )
        return p.reshape(b, m, t, n, -1)

    def _refine(self, z: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None) -> Float[Array, "b n d"]:
        """What the predictor gets of the context; a member that changes it overrides this."""
        return z

    def _regularise(self, f: Features) -> None:
        """Sows SIGReg of the context features; the train step adds it to the loss and logs it."""
        rows, weight = self.pooling(f), None
        if self.sigreg_on == "tokens":
            rows, weight = f.tokens.reshape(-1, f.tokens.shape[-1]), f.mask.reshape(-1).astype(f.tokens.dtype)
        directions = random_directions(self.make_rng("dropout"), rows.shape[-1], SLICES, wide(rows).name)
        self.sow("losses", "sigreg", self.sigreg * sigreg(rows, directions, weight=weight))

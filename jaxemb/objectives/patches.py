"""What objectives share that hide patches of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.masks.base import Masks
from jaxemb.masks.random_patches import RandomPatches
from jaxemb.nn.pooled import wanted
from jaxemb.nn.stem import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.base import Objective, refuse_mask, tower
from jaxemb.ops.draws import Draws
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Batch, Features


class _OfPatches(Objective):
    """An encoder of image patches, and masks of its grid that the host draws into the batch beside `images` (b H W c)."""

    encoder: Transformer = field(default_factory=Transformer)
    masks: Masks = field(default_factory=RandomPatches)
    pooling: Pooling = field(default_factory=Mean)
    """Of the patch features, for `encode`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.encoder.stem, Patches):
            raise ConfigError(
                f"{type(self).__name__} needs an encoder of image patches, its stem is {type(self.encoder.stem).__name__}"
            )

    def prepare(self, batch: dict[str, np.ndarray], draws: Draws) -> dict[str, np.ndarray]:
        refuse_mask(self, batch)
        return {**batch, **self._drawn(self._grid(batch["images"]), draws)}

    def _drawn(self, grid: tuple[int, int], draws: Draws) -> Mapping[str, np.ndarray]:
        """What the batch gets of the masks."""
        return self.masks(grid, draws)

    def features(self, batch: Batch, role: str = "document") -> Features:
        batch = tower(batch, role)
        refuse_mask(self, batch)
        return self.encoder(batch["images"], **wanted(self.pooling, self.encoder))

    def encode(self, batch: Batch, role: str = "document") -> Float[Array, "b d"]:
        return self.pooling(self.features(batch, role))

    @property
    def _size(self) -> int:
        """Pixels along the side of a patch."""
        stem: Any = self.encoder.stem
        return stem.size

    def _grid(self, images: Any) -> tuple[int, int]:
        """Rows and columns of patches."""
        stem: Any = self.encoder.stem
        return stem.grid(images.shape[1:])

    def _check_target_layers(self, count: int) -> None:
        """Raises ConfigError where the encoder has not so many last layers to make targets of."""
        if not 1 <= count <= self.encoder.depth:
            raise ConfigError(f"target_layers={count} must be from 1 to the encoder's depth, {self.encoder.depth}")

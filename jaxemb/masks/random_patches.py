"""A fixed share of random patches."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.masks.base import Grid, Masks
from jaxemb.ops.draws import Draws
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class RandomPatches(Masks):
    """Of every image a fixed share of random patches is hidden, and the rest visible (MAE, He et al. 2022)."""

    paper: ClassVar[Paper | None] = Paper("Masked Autoencoders Are Scalable Vision Learners", 2022, "arxiv.org/abs/2111.06377")

    ratio: float = 0.75
    """Share of hidden patches; int(n (1 - ratio)) stay visible."""

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ConfigError(f"masks.ratio must be above 0 and below 1, is {self.ratio}")

    def visible(self, grid: Grid) -> int:
        """How many patches stay visible."""
        cells = grid[0] * grid[1]
        count = int(cells * (1 - self.ratio))
        if not 0 < count < cells:
            most = math.floor(1000 * (1 - 1 / cells)) / 1000  # rounded down, so that it works as printed
            raise ConfigError(
                f"masks.ratio={self.ratio} leaves {count} of the {cells} patches of a {grid[0]} x {grid[1]} grid visible; at least "
                f"one must be visible and one hidden: " + (f"0.001 to {most:g} can be" if cells > 1 else "use smaller patches")
            )
        return count

    def __call__(self, grid: Grid, draws: Draws) -> dict[str, np.ndarray]:
        count = self.visible(grid)
        order = np.argsort(draws.random(grid[0] * grid[1]), axis=1).astype(np.int32)
        context, targets = np.sort(order[:, :count], axis=1), np.sort(order[:, count:], axis=1)
        return {"context": context[:, None], "targets": targets[:, None]}

"""Rectangles of random size and shape."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.masks.base import Grid, ids
from jaxemb.masks.random_patches import RandomPatches
from jaxemb.ops.draws import Draws
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Blockwise(RandomPatches):
    """Hides rectangles of random size and shape until a share of the patches is hidden (BEiT, Bao et al. 2022).

    The area of a rectangle is uniform between `smallest` and what is still to be hidden, its aspect log-uniform. The released
    sampler stops short of the share where no rectangle fits any more; here single patches fill it up, so that shapes are fixed.
    (The rules are from memory of the released code: unverified.)
    """

    paper: ClassVar[Paper | None] = Paper("BEiT: BERT Pre-Training of Image Transformers", 2022, "arxiv.org/abs/2106.08254")

    ratio: float = 0.4
    """Share of hidden patches; int(n (1 - ratio)) stay visible."""
    smallest: int = 4
    """Patches of the smallest rectangle, where that many are still to be hidden."""
    aspect: float = 0.3
    """Height over width lies between this and its inverse."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest < 1 or not 0 < self.aspect <= 1:
            raise ConfigError(f"masks needs smallest >= 1 and aspect in (0, 1], not {self.smallest} and {self.aspect}")

    def __call__(self, grid: Grid, draws: Draws) -> dict[str, np.ndarray]:
        hidden = grid[0] * grid[1] - self.visible(grid)
        maps = np.stack([self._draw(grid, hidden, rng) for rng in draws.generators()])
        return {"context": ids(~maps)[:, None], "targets": ids(maps)[:, None]}

    def _draw(self, grid: Grid, hidden: int, rng: np.random.Generator) -> np.ndarray:
        """One image: bool rows columns, True where hidden."""
        mask = np.zeros(grid, bool)
        for _ in range(10 * hidden):
            left = hidden - int(mask.sum())
            if not left:
                break
            area = rng.uniform(min(self.smallest, left), left)
            ratio = math.exp(rng.uniform(math.log(self.aspect), -math.log(self.aspect)))
            size = (round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio)))
            if min(size) < 1 or size[0] >= grid[0] or size[1] >= grid[1]:
                continue
            top, side = (int(rng.integers(0, grid[axis] - size[axis] + 1)) for axis in (0, 1))
            block = mask[top : top + size[0], side : side + size[1]]
            if 0 < block.size - int(block.sum()) <= left:
                block[:] = True
        free = np.flatnonzero(~mask)
        mask.flat[rng.permutation(free)[: hidden - int(mask.sum())]] = True
        return mask

"""Multi-block masks of I-JEPA."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.masks.base import Grid, Masks, fit, ids, paint
from jaxemb.ops.draws import Draws
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class MultiBlock(Masks):
    """The multi-block masks of I-JEPA (Assran et al. 2023), as released.

    A batch draws one size of target block and one of context block; each image draws places for `targets` target blocks, and one
    context block from which the targets are cut out. As in the released code the last row and column of the grid are never
    drawn (`include_last` adds them), and contexts are cut to the shortest of the batch, from the end.

    Fixed shapes: targets are padded to the largest size that can be drawn, contexts padded or cut to `context_tokens`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", 2023, "arxiv.org/abs/2301.08243"
    )

    targets: int = 4
    scale: tuple[float, float] = (0.15, 0.2)
    """Area of a target block, as a share of the grid."""
    aspect: tuple[float, float] = (0.75, 1.5)
    """Height over width of a target block."""
    context_scale: tuple[float, float] = (0.85, 1.0)
    min_keep: int = 10
    """A block must have more patches than this, also after the targets were cut out."""
    include_last: bool = False
    context_tokens: int | None = None
    """Length of the padded context. None: the usual length on the grid, see `usual_context`; (rows-1)(columns-1) never cuts."""

    def __post_init__(self) -> None:
        if self.targets < 1:
            raise ConfigError(f"masks.targets must be at least 1, is {self.targets}")
        if self.min_keep < 0:
            raise ConfigError(f"masks.min_keep must not be negative, is {self.min_keep}")
        if self.context_tokens is not None and self.context_tokens < 1:
            raise ConfigError(f"masks.context_tokens must be at least 1 (None: the usual length), is {self.context_tokens}")
        for name in ("scale", "aspect", "context_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high or (name != "aspect" and high > 1):
                raise ConfigError(
                    f"masks.{name} must be (low, high) with 0 < low <= high{' <= 1' * (name != 'aspect')}, is {(low, high)}"
                )

    def block_size(self, u: float, grid: Grid, scale: tuple[float, float], aspect: tuple[float, float]) -> tuple[int, int]:
        """(rows, columns) of a block as a function of one uniform draw u in [0, 1): it sets area and aspect together."""
        area = int(grid[0] * grid[1] * (scale[0] + u * (scale[1] - scale[0])))
        ratio = aspect[0] + u * (aspect[1] - aspect[0])
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        return min(rows, grid[0] - 1), min(columns, grid[1] - 1)

    def target_size(self, u: float, grid: Grid) -> tuple[int, int]:
        return self.block_size(u, grid, self.scale, self.aspect)

    def context_size(self, u: float, grid: Grid) -> tuple[int, int]:
        return self.block_size(u, grid, self.context_scale, (1.0, 1.0))

    def draw(self, grid: Grid, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """The released sampler: context (b k) and targets (b t n), with k and n as the draw has it."""
        batch = len(draws)
        size, context_size = self._draw_sizes(grid, draws.shared)
        corners = self._corners(grid, size, draws, self.targets)
        blocks = paint(grid, size, corners)
        context = np.zeros((batch, *grid), bool)
        excluded = np.full(batch, self.targets)
        failures = np.zeros(batch, int)
        todo = np.arange(batch)
        while todo.size:
            block = paint(grid, context_size, self._corners(grid, context_size, draws.take(todo)))
            counted = np.arange(self.targets)[None] < excluded[todo, None]
            context[todo] = block & ~(blocks[todo] & counted[:, :, None, None]).any(1)
            todo = todo[context[todo].sum((1, 2)) <= self.min_keep]
            failures[todo] += 1  # after 20 failures the context may overlap with one target more, counted from the last
            excluded[todo[failures[todo] % 20 == 0]] -= 1
        return ids(context), ids(blocks)

    def __call__(self, grid: Grid, draws: Draws) -> dict[str, np.ndarray]:
        # The cut to the shortest context goes over the whole batch, as if it were drawn in one place.
        context, targets = (drawn[draws.places] for drawn in self.draw(grid, draws.whole()))
        length = self.context_tokens or self.usual_context(grid)
        context, context_mask = fit(context, length)
        areas = {rows * columns for rows, columns in self.sizes(grid)}
        targets, targets_mask = fit(targets, max(areas))
        out = {"context": context[:, None], "targets": targets}
        # Masks are left out where no draw can need padding, never by what this one drew: the shapes would change.
        out |= {"context_mask": context_mask[:, None]} if length > self.min_keep + 1 else {}
        return out | {"targets_mask": targets_mask} if len(areas) > 1 else out

    def sizes(self, grid: Grid) -> tuple[tuple[int, int], ...]:
        """The sizes of target blocks that can be drawn on this grid."""
        return _sizes(self, grid)

    def usual_context(self, grid: Grid) -> int:
        """Mean length of the contexts of 64 images after the cut, from a simulation with a fixed seed, rounded up to 8."""
        return _usual_context(self, grid)

    def _draw_sizes(self, grid: Grid, shared: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int]]:
        known = self.sizes(grid)
        while (size := self.target_size(shared.random(), grid)) not in known:
            pass  # a size so rare that the table lacks it (a window of u below 1e-4)
        return size, self.context_size(shared.random(), grid)

    def _corners(self, grid: Grid, size: tuple[int, int], draws: Draws, *shape: int) -> np.ndarray:
        last = [grid[axis] - size[axis] + self.include_last for axis in (0, 1)]
        return np.stack([draws.integers(0, last[0], *shape), draws.integers(0, last[1], *shape)], -1)


@functools.cache
def _sizes(masks: MultiBlock, grid: Grid) -> tuple[tuple[int, int], ...]:
    if min(grid) < 2:
        raise ConfigError(f"MultiBlock needs a grid of at least 2 x 2 patches, not {grid[0]} x {grid[1]}")
    sizes = sorted({masks.target_size(u, grid) for u in np.linspace(0, 1, 20_001)[:-1]})
    contexts = {masks.context_size(u, grid) for u in np.linspace(0, 1, 2_001)[:-1]}
    smallest = min(rows * columns for rows, columns in [*sizes, *contexts])
    if smallest <= masks.min_keep:
        lower = f"set min_keep to at most {smallest - 1} or " if smallest else ""
        raise ConfigError(
            f"masks.min_keep={masks.min_keep} cannot be met: on a {grid[0]} x {grid[1]} grid a block can have as few as {smallest} "
            f"patches, and must have more than min_keep; {lower}raise scale={masks.scale}"
        )
    return tuple(sizes)


@functools.cache
def _usual_context(masks: MultiBlock, grid: Grid) -> int:
    lengths = [masks.draw(grid, Draws((0, i), 64))[0].shape[1] for i in range(32)]
    return min(-(-math.ceil(np.mean(lengths)) // 8) * 8, grid[0] * grid[1])

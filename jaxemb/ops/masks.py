"""Which patches are seen and which are predicted: samplers for masked prediction, in numpy, on the host.

A sampler returns patch ids (counted row by row) whose shapes are the same at every call, so that nothing recompiles:
`context` (b m k) and `targets` (b t k), with `context_mask` / `targets_mask` where rows are padded.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np

from jaxemb.config import ConfigError

Grid = tuple[int, int]
TRIES = 2000
"""Draws after which a sampler gives up on an image."""


class Masks:
    """Abstract sampler. `rng` differs between processes; `shared` is the same in all of them and decides sizes."""

    def __call__(self, grid: Grid, batch: int, rng: np.random.Generator, shared: np.random.Generator) -> Mapping[str, np.ndarray]:
        raise TypeError(f"{type(self).__name__} does not define __call__")


@dataclasses.dataclass(frozen=True)
class MultiBlock(Masks):
    """The multi-block masks of I-JEPA (Assran et al. 2023), as released.

    A batch draws one size of target block and one of context block; each image draws places for `targets` target blocks, and one
    context block from which the targets are cut out. As in the released code the last row and column of the grid are never
    drawn (`include_last` adds them), and contexts are cut to the shortest of the batch, from the end.

    Fixed shapes: targets are padded to the largest size that can be drawn, contexts padded or cut to `context_tokens`.
    """

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

    def draw(self, grid: Grid, batch: int, rng: np.random.Generator, shared: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The released sampler: context (b k) and targets (b t n), with k and n as the draw has it."""
        size, context_size = self._draw_sizes(grid, shared)
        corners = self._corners(grid, size, (batch, self.targets), rng)
        blocks = _paint(grid, size, corners)
        context = np.zeros((batch, *grid), bool)
        excluded = np.full(batch, self.targets)
        failures = np.zeros(batch, int)
        todo = np.arange(batch)
        while todo.size:
            block = _paint(grid, context_size, self._corners(grid, context_size, (todo.size,), rng))
            counted = np.arange(self.targets)[None] < excluded[todo, None]
            context[todo] = block & ~(blocks[todo] & counted[:, :, None, None]).any(1)
            todo = todo[context[todo].sum((1, 2)) <= self.min_keep]
            failures[todo] += 1  # after 20 failures the context may overlap with one target more, counted from the last
            excluded[todo[failures[todo] % 20 == 0]] -= 1
        return _ids(context), _ids(blocks)

    def __call__(self, grid: Grid, batch: int, rng: np.random.Generator, shared: np.random.Generator) -> dict[str, np.ndarray]:
        context, targets = self.draw(grid, batch, rng, shared)
        length = self.context_tokens or self.usual_context(grid)
        context, context_mask = _fit(context, length)
        areas = {rows * columns for rows, columns in self.sizes(grid)}
        targets, targets_mask = _fit(targets, max(areas))
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

    def _corners(self, grid: Grid, size: tuple[int, int], shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        last = [grid[axis] - size[axis] + self.include_last for axis in (0, 1)]
        return np.stack([rng.integers(0, last[0], shape), rng.integers(0, last[1], shape)], -1)


@dataclasses.dataclass(frozen=True)
class FixedBlocks(Masks):
    """Target blocks of one size anywhere on the grid, and as context a fixed number of random patches of the rest.

    For small grids, where multi-block sampling leaves little to choose: no padding, no border that is never drawn.
    """

    targets: int = 3
    size: tuple[int, int] = (2, 2)
    """Rows and columns of a target block."""
    context: int = 6
    """Patches that the encoder sees."""

    def __post_init__(self) -> None:
        if min(self.targets, *self.size, self.context) < 1:
            raise ConfigError(
                f"masks: targets, size and context must be at least 1, are {self.targets}, {self.size}, {self.context}"
            )

    def __call__(self, grid: Grid, batch: int, rng: np.random.Generator, shared: np.random.Generator) -> dict[str, np.ndarray]:
        self._check(grid)
        cells = grid[0] * grid[1]
        blocks = np.zeros((batch, self.targets, *grid), bool)
        todo = np.arange(batch)
        for attempt in itertools.count():  # blocks that overlap little can leave too few patches for the context: draw again
            if not todo.size:
                break
            if attempt == TRIES:
                raise ConfigError(
                    f"masks.context={self.context}: {self.targets} targets of {self.size} on a {grid[0]} x {grid[1]} grid "
                    f"did not leave so many patches in {TRIES} draws; lower context, targets or size"
                )
            shape = (todo.size, self.targets)
            corners = np.stack([rng.integers(0, grid[axis] - self.size[axis] + 1, shape) for axis in (0, 1)], -1)
            blocks[todo] = _paint(grid, self.size, corners)
            todo = todo[cells - blocks[todo].any(1).sum((1, 2)) < self.context]
        order = rng.random((batch, cells)) + blocks.any(1).reshape(batch, cells)  # targets sort behind all others
        context = np.sort(np.argsort(order, axis=1)[:, : self.context], axis=1).astype(np.int32)
        return {"context": context[:, None], "targets": _ids(blocks)}

    def _check(self, grid: Grid) -> None:
        if any(self.size[axis] > grid[axis] for axis in (0, 1)):
            raise ConfigError(f"masks.size={self.size} is larger than the grid of {grid[0]} x {grid[1]} patches")
        most = grid[0] * grid[1] - self.size[0] * self.size[1]
        if self.context > most:
            raise ConfigError(
                f"masks.context={self.context}: a {grid[0]} x {grid[1]} grid with a target of {self.size} leaves at most {most}"
            )


@dataclasses.dataclass(frozen=True)
class RandomPatches(Masks):
    """Of every image a fixed share of random patches is hidden, and the rest visible (MAE, He et al. 2022)."""

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

    def __call__(self, grid: Grid, batch: int, rng: np.random.Generator, shared: np.random.Generator) -> dict[str, np.ndarray]:
        count = self.visible(grid)
        order = np.argsort(rng.random((batch, grid[0] * grid[1])), axis=1).astype(np.int32)
        context, targets = np.sort(order[:, :count], axis=1), np.sort(order[:, count:], axis=1)
        return {"context": context[:, None], "targets": targets[:, None]}


@dataclasses.dataclass(frozen=True)
class Blockwise(RandomPatches):
    """Hides rectangles of random size and shape until a share of the patches is hidden (BEiT, Bao et al. 2022).

    The area of a rectangle is uniform between `smallest` and what is still to be hidden, its aspect log-uniform. The released
    sampler stops short of the share where no rectangle fits any more; here single patches fill it up, so that shapes are fixed.
    (The rules are from memory of the released code: unverified.)
    """

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

    def __call__(self, grid: Grid, batch: int, rng: np.random.Generator, shared: np.random.Generator) -> dict[str, np.ndarray]:
        hidden = grid[0] * grid[1] - self.visible(grid)
        maps = np.stack([self._draw(grid, hidden, rng) for _ in range(batch)])
        return {"context": _ids(~maps)[:, None], "targets": _ids(maps)[:, None]}

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
    rng = np.random.default_rng(0)
    lengths = [masks.draw(grid, 64, rng, rng)[0].shape[1] for _ in range(32)]
    return min(-(-math.ceil(np.mean(lengths)) // 8) * 8, grid[0] * grid[1])


def _paint(grid: Grid, size: tuple[int, int], corners: np.ndarray) -> np.ndarray:
    """Blocks as bool maps (... rows columns), given their top left corners (... 2)."""
    row, column = np.arange(grid[0])[:, None], np.arange(grid[1])[None, :]
    top, left = corners[..., 0, None, None], corners[..., 1, None, None]
    return (row >= top) & (row < top + size[0]) & (column >= left) & (column < left + size[1])


def _ids(maps: np.ndarray) -> np.ndarray:
    """Bool maps (... rows columns) as ascending patch ids (... k), cut to the shortest."""
    flat = maps.reshape(*maps.shape[:-2], -1)
    shortest = int(flat.sum(-1).min())
    return np.argsort(~flat, axis=-1, kind="stable")[..., :shortest].astype(np.int32)


def _fit(ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids cut or padded (with 0) to a length, and which of them are no padding."""
    ids = ids[..., :length]
    missing = length - ids.shape[-1]
    widths = [(0, 0)] * (ids.ndim - 1) + [(0, missing)]
    return np.pad(ids, widths), np.pad(np.ones(ids.shape, bool), widths)

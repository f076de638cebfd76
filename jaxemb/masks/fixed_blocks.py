"""Target blocks of one size."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.masks.base import TRIES, Grid, Masks, ids, paint
from jaxemb.ops.draws import Draws


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

    def __call__(self, grid: Grid, draws: Draws) -> dict[str, np.ndarray]:
        self._check(grid)
        cells = grid[0] * grid[1]
        batch = len(draws)
        ranks = draws.random(cells)  # before the loop, whose turns depend on the other rows
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
            some, most = draws.take(todo), [grid[axis] - self.size[axis] + 1 for axis in (0, 1)]
            corners = np.stack([some.integers(0, most[axis], self.targets) for axis in (0, 1)], -1)
            blocks[todo] = paint(grid, self.size, corners)
            todo = todo[cells - blocks[todo].any(1).sum((1, 2)) < self.context]
        order = ranks + blocks.any(1).reshape(batch, cells)  # targets sort behind all others
        context = np.sort(np.argsort(order, axis=1)[:, : self.context], axis=1).astype(np.int32)
        return {"context": context[:, None], "targets": ids(blocks)}

    def _check(self, grid: Grid) -> None:
        if any(self.size[axis] > grid[axis] for axis in (0, 1)):
            raise ConfigError(f"masks.size={self.size} is larger than the grid of {grid[0]} x {grid[1]} patches")
        most = grid[0] * grid[1] - self.size[0] * self.size[1]
        if self.context > most:
            raise ConfigError(
                f"masks.context={self.context}: a {grid[0]} x {grid[1]} grid with a target of {self.size} leaves at most {most}"
            )

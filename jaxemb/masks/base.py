"""The family of mask samplers: which patches are seen and which are predicted. In numpy, on the host; no JAX.

A sampler returns patch ids (counted row by row) whose shapes are the same at every call, so that nothing recompiles:
`context` (b m k) and `targets` (b t k), with `context_mask` / `targets_mask` where rows are padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from jaxemb.ops.draws import Draws
from jaxemb.types import Paper

Grid = tuple[int, int]
TRIES = 2000
"""Draws after which a sampler gives up on an image."""


class Masks:
    """Abstract sampler of a mask for each row of `draws`; what a row gets depends on no number of processes (`ops/draws.py`)."""

    paper: ClassVar[Paper | None] = None

    def __call__(self, grid: Grid, draws: Draws) -> Mapping[str, np.ndarray]:
        raise TypeError(f"{type(self).__name__} does not define __call__")


def paint(grid: Grid, size: tuple[int, int], corners: np.ndarray) -> np.ndarray:
    """Blocks as bool maps (... rows columns), given their top left corners (... 2)."""
    row, column = np.arange(grid[0])[:, None], np.arange(grid[1])[None, :]
    top, left = corners[..., 0, None, None], corners[..., 1, None, None]
    return (row >= top) & (row < top + size[0]) & (column >= left) & (column < left + size[1])


def ids(maps: np.ndarray) -> np.ndarray:
    """Bool maps (... rows columns) as ascending patch ids (... k), cut to the shortest."""
    flat = maps.reshape(*maps.shape[:-2], -1)
    shortest = int(flat.sum(-1).min())
    return np.argsort(~flat, axis=-1, kind="stable")[..., :shortest].astype(np.int32)


def fit(ids: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids cut or padded (with 0) to a length, and which of them are no padding."""
    ids = ids[..., :length]
    missing = length - ids.shape[-1]
    widths = [(0, 0)] * (ids.ndim - 1) + [(0, missing)]
    return np.pad(ids, widths), np.pad(np.ones(ids.shape, bool), widths)

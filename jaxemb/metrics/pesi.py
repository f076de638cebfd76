"""PESI: how well the embedding of a grid of positions tells distance, from every cell outwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.ops.similarity import unit


class Pesi(NamedTuple):
    """The three figures, each a mean over the cells taken as centre."""

    undirected: float
    """M_U, 2 at best: does similarity fall with distance, averaged over all directions?"""
    directed: float
    """M_D, 2 at best: does it fall within each of the buckets of directions?"""
    asymmetry: float
    """A_SU, 0 at best: how much it varies between cells at the same distance."""


def pesi(table: Float[np.ndarray, "h w d"], *, buckets: int = 60, decimals: int | None = None) -> Pesi:
    """Positional Embedding Structural Integrity (Chowdhury et al. 2025), of E = cosine similarity with the centre.

        M_U = 1 - Spearman(r, mean of E at r)       r = distance rounded, the centre included as r = 0
        A_SU = mean over r of std of E at r / mean of E at r
        M_D = 1 - mean over buckets of Spearman(distance, E)

    Bucket = floor(angle / (2 pi / buckets)) with angle = atan2(columns, rows) from the centre, which itself lies in bucket 0; those
    of one cell or none count as 0. Spearman is 1 - 6 sum (difference of ranks)^2 / (n (n^2 - 1)), equal values sharing their mean
    rank. Computed in float64, with the conventions that reproduce the printed table; the appendix that defines them was not found.

    `decimals` rounds the cosines first. Without it, those that are equal on paper, of which regular tables have many, are ranked by
    rounding errors: the fourth decimal of `directed` then depends on the processor. With 9 it does not.
    """
    if buckets < 1:
        raise ConfigError(f"buckets must be at least 1, is {buckets}")
    rows, columns, width = table.shape
    cells = rows * columns
    e = unit(np.asarray(table, np.float64).reshape(cells, width))
    similarity = (e @ e.T).reshape(-1)  # every pair (centre, cell) from here on is one entry
    if decimals is not None:
        similarity = similarity.round(decimals)
    row, column = np.indices((rows, columns)).reshape(2, 1, cells)
    down, right = row - row.T, column - column.T
    distance = np.sqrt(down**2 + right**2)
    bucket = np.floor(np.arctan2(right, down) / (2 * np.pi / buckets)).astype(np.int64) % buckets
    centre = np.arange(cells)[:, None]
    directed = spearman_within(distance.reshape(-1), similarity, (centre * buckets + bucket).reshape(-1), cells * buckets)

    levels = np.rint(distance).astype(np.int64)
    top = int(levels.max()) + 1
    group, count = np.unique(centre * top + levels, return_counts=True)
    member = np.searchsorted(group, (centre * top + levels).reshape(-1))
    mean = np.bincount(member, similarity) / count
    std = np.sqrt(np.bincount(member, (similarity - mean[member]) ** 2) / count)
    undirected = spearman_within((group % top).astype(np.float64), mean, group // top, cells)
    asymmetry = np.bincount(group // top, std / mean) / np.bincount(group // top)
    return Pesi(float(1 - undirected.mean()), float(1 - directed.mean()), float(asymmetry.mean()))


def spearman_within(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], groups: int
) -> Float[np.ndarray, " groups"]:
    """The formula above within each group, thousands at once; 0 where a group has fewer than two members.

    With ties it differs from the correlation of ranks, which SciPy gives: the paper's printed values have it.
    """
    n = np.bincount(group, minlength=groups).astype(np.float64)
    squares = np.bincount(group, (ranks(x, group) - ranks(y, group)) ** 2, groups)
    return np.where(n < 2, 0.0, 1 - 6 * squares / np.maximum(n * (n**2 - 1), 1))


def ranks(x: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks up to a constant of the group; equal values share their mean rank."""
    by = np.lexsort((x, group))
    begins = np.concatenate([[True], (np.diff(x[by]) != 0) | (np.diff(group[by]) != 0)])
    run = np.cumsum(begins) - 1
    place = np.bincount(run, np.arange(len(x))) / np.bincount(run)
    first = np.searchsorted(group[by], group)  # of the group, in sorted order
    found = np.empty(len(x))
    found[by] = place[run]
    return found - first

"""Curves through a grid: when each cell is visited. Plain numpy on the host, since shapes are known before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from jaxemb.config import ConfigError, suggest

Curve = Callable[[int, int], np.ndarray]
"""(rows, columns) -> the visit index of every cell, from 0, read-only."""
Vector = tuple[int, int]
"""(x, y), that is (column, row)."""


def _cached(draw: Curve) -> Curve:
    @functools.wraps(draw)
    @functools.lru_cache(64)
    def curve(rows: int, columns: int) -> np.ndarray:
        if min(rows, columns) < 1:
            raise ConfigError(f"{draw.__name__}: a grid needs rows and columns of at least 1, not {rows} x {columns}")
        index = draw(rows, columns).astype(np.int32)
        index.flags.writeable = False  # everyone gets the same array
        return index

    return curve


@_cached
def raster(rows: int, columns: int) -> Int[np.ndarray, "rows columns"]:
    """Row by row, each from the left. The LOOPE paper calls it zigzag."""
    return np.arange(rows * columns).reshape(rows, columns)


@_cached
def snake(rows: int, columns: int) -> Int[np.ndarray, "rows columns"]:
    """Row by row, every second one from the right (boustrophedon): each step goes to a neighbour."""
    index = np.arange(rows * columns).reshape(rows, columns)
    index[1::2] = index[1::2, ::-1]
    return index


@_cached
def gilbert(rows: int, columns: int) -> Int[np.ndarray, "rows columns"]:
    """The generalised Hilbert curve of any grid, from (0, 0) along the longer side (rule by J. Cerveny).

    A rectangle is cut into two along its longer side where that exceeds 3/2 of the other, else into three: up, across, down.
    Each step goes to one of four neighbours where the longer side is even, or both are odd; else at most one step is diagonal.
    On a square of 2^k cells it is a Hilbert curve.
    """
    index = np.empty((rows, columns), np.int32)
    wide = columns >= rows
    major, minor = ((columns, 0), (0, rows)) if wide else ((0, rows), (columns, 0))
    x, y = np.array(_fill((0, 0), major, minor)).T
    index[y, x] = np.arange(rows * columns)
    return index


def _fill(p: Vector, a: Vector, b: Vector) -> list[Vector]:
    """The cells of the rectangle at corner p with sides a (along which it is crossed) and b, in order."""
    width, height = _length(a), _length(b)
    ua, ub = _unit(a), _unit(b)
    if height == 1:
        return [_step(p, ua, i) for i in range(width)]
    if width == 1:
        return [_step(p, ub, i) for i in range(height)]
    a2, b2 = (a[0] // 2, a[1] // 2), (b[0] // 2, b[1] // 2)
    if 2 * width > 3 * height:
        if _length(a2) % 2 and width > 2:  # pieces of even length: the curve leaves them where the next one begins
            a2 = _step(a2, ua)
        return _fill(p, a2, b) + _fill(_step(p, a2), _step(a, a2, -1), b)
    if _length(b2) % 2 and height > 2:
        b2 = _step(b2, ub)
    rest, down = _step(b, b2, -1), _step(_step(_step(p, _step(a, ua, -1)), b2), ub, -1)
    return _fill(p, b2, a2) + _fill(_step(p, b2), a, rest) + _fill(down, (-b2[0], -b2[1]), (a2[0] - a[0], a2[1] - a[1]))


def _length(v: Vector) -> int:
    return abs(v[0] + v[1])


def _unit(v: Vector) -> Vector:
    return int(np.sign(v[0])), int(np.sign(v[1]))


def _step(p: Vector, v: Vector, times: int = 1) -> Vector:
    return p[0] + times * v[0], p[1] + times * v[1]


@_cached
def hilbert(rows: int, columns: int) -> Int[np.ndarray, "rows columns"]:
    """The classic Hilbert curve of a 2^k square, from the top left to the top right."""
    if rows != columns or rows & (rows - 1):
        raise ConfigError(f"hilbert fills squares of 2^k cells a side, not {rows} x {columns}; gilbert serves any grid")
    index = np.zeros((1, 1), np.int32)
    while len(index) < rows:  # four copies, entered left above, left below, right below, right above
        left = np.concatenate([index.T, index + index.size])
        right = np.concatenate([index[::-1, ::-1].T + 3 * index.size, index + 2 * index.size])
        index = np.concatenate([left, right], axis=1)
    return index


@_cached
def morton(rows: int, columns: int) -> Int[np.ndarray, "rows columns"]:
    """The Z-order: cells by the code whose bits are those of row and column in turn (column last), in any grid."""
    row, column = np.indices((rows, columns), np.int64).reshape(2, -1)
    code = sum(((row >> k & 1) << 2 * k + 1) + ((column >> k & 1) << 2 * k) for k in range(max(rows, columns).bit_length()))
    return np.argsort(np.argsort(code)).reshape(rows, columns)


ORDERS: dict[str, Curve] = {"raster": raster, "snake": snake, "gilbert": gilbert, "hilbert": hilbert, "morton": morton}


def order(name: str, rows: int, columns: int) -> Int[np.ndarray, "rows columns"]:
    """The visit index of every cell [row, column] by the curve of this name."""
    if name not in ORDERS:
        raise ConfigError(f"there is no order {name!r}{suggest(name, ORDERS)}")
    return ORDERS[name](rows, columns)

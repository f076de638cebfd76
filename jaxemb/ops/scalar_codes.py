"""A code of 8 or 4 bits a number, each dimension on a grid of its own: x is about offset + step * code."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer, UInt8

GRIDS = ("range", "uniform", "symmetric")


class Grid(NamedTuple):
    """Where the codes 0 to 2^bits - 1 of each dimension lie."""

    offset: Float[np.ndarray, " d"]
    """Of the code 0."""
    step: Float[np.ndarray, " d"]


def fit_grid(x: Float[np.ndarray, "s d"], bits: int, kind: str) -> Grid:
    """The grid of a sample, of n = 2^bits - 1 steps.

    range       from min to max of each dimension: x = min + (c + 1/2) (max - min) / n, as faiss's QT_8bit and QT_4bit
    uniform     the same with one min and max for all, QT_8bit_uniform
    symmetric   x = (c - h) max|x| / h with h = 2^(bits - 1) - 1, of which c = 0 is never used: 0 stays 0
    """
    if kind == "symmetric":
        half = 2 ** (bits - 1) - 1
        step = np.abs(x).max(0) / half
        step = np.where(step == 0, 1, step).astype(x.dtype)
        return Grid(-(half + 1) * step, step)
    low, high = (x.min(0), x.max(0)) if kind == "range" else (np.full(x.shape[1], f(x), x.dtype) for f in (np.min, np.max))
    step = (high - low) / (2**bits - 1)
    return Grid(low + step / 2, step)


def encode(x: Float[np.ndarray, "n d"], grid: Grid, bits: int, kind: str) -> UInt8[np.ndarray, "n d"]:
    """The code of each number; beyond the grid its last one. faiss takes the step that a number lies in, floor(n (x - min) / (max -
    min)), so that a decoded number stands in the middle of its step; the symmetric grid the nearest point, halves to even."""
    at = np.divide(x - grid.offset, grid.step, out=np.zeros_like(x), where=grid.step != 0)
    if kind == "symmetric":
        return np.clip(np.round(at), 1, 2**bits - 1).astype(np.uint8)
    return np.clip(np.floor(at + x.dtype.type(0.5)), 0, 2**bits - 1).astype(np.uint8)


def decode(codes: Integer[np.ndarray, "n d"], grid: Grid) -> Float[np.ndarray, "n d"]:
    """The numbers that codes stand for."""
    return grid.offset + codes.astype(grid.step.dtype) * grid.step


def pack_nibbles(codes: UInt8[np.ndarray, "n d"]) -> UInt8[np.ndarray, "n b"]:
    """Two codes of 4 bits a byte, the first in its low half."""
    codes = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return codes[:, ::2] | codes[:, 1::2] << 4


def unpack_nibbles(packed: UInt8[Array, "n b"], width: int) -> UInt8[Array, "n d"]:
    """The reverse, of `width` codes a row; traced."""
    both = jnp.stack([packed & jnp.uint8(15), packed >> jnp.uint8(4)], axis=-1)
    return both.reshape(len(packed), -1)[:, :width]

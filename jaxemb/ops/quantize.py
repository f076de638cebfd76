"""Embeddings in fewer bytes: a byte a dimension, or a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from jaxemb.config import ConfigError

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def find_ranges(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "2 d"]:
    """The smallest and the largest value of each dimension: what `quantize_embeddings` cuts in 255 steps."""
    if not len(x):
        raise ConfigError("ranges are found in embeddings, and there are none: give `ranges`, or embeddings to find them in")
    return np.stack([x.min(0), x.max(0)])


def quantize_embeddings(
    embeddings: Shaped[np.ndarray, "*n d"],
    precision: str,
    ranges: Any = None,
    calibration_embeddings: Shaped[np.ndarray, "m d"] | None = None,
) -> np.ndarray:
    """Embeddings in a precision, as sentence-transformers stores them.

    `uint8`: floor((x - min) / step) in 0 to 255, step = (max - min) / 255, of each dimension; `int8`: the same less 128. min and
    max are `ranges` (2 d), else those of `calibration_embeddings`, else those of the embeddings themselves: to compare what several
    calls gave, use the same ranges. `ubinary`: a bit a dimension, set where x > 0, the first in the highest bit of the first byte,
    the last byte filled with zeros; `binary`: the same bytes less 128, int8.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision!r}; valid: {', '.join(PRECISIONS)}")
    x = np.asarray(embeddings)
    if not np.issubdtype(x.dtype, np.floating):
        raise ConfigError(f"embeddings to quantise are floats, not {x.dtype}: they were quantised before")
    x = x.astype(np.float32, copy=False)
    if precision == "float32":
        return x
    if not np.isfinite(x).all():
        raise ConfigError(
            f"{int((~np.isfinite(x)).sum())} entries of the embeddings are not finite: they have no place in {precision}"
        )
    if precision in ("binary", "ubinary"):
        bits = np.packbits(x > 0, axis=-1)
        return bits if precision == "ubinary" else (bits ^ np.uint8(128)).view(np.int8)  # x - 128 in eight bits
    low, high = _ranges(x, ranges, calibration_embeddings)
    step = (high - low) / np.float32(255)
    step = np.where(step == 0, np.float32(1), step)
    found = np.clip(np.floor((x - low) / step), 0, 255).astype(np.uint8)
    return found if precision == "uint8" else (found ^ np.uint8(128)).view(np.int8)


def _ranges(x: np.ndarray, ranges: Any, calibration: np.ndarray | None) -> np.ndarray:
    if ranges is None and calibration is None and x.ndim == 1:
        raise ConfigError("a single embedding has no ranges of its own: give `ranges`, the smallest and largest of each dimension")
    if ranges is None:
        ranges = (
            find_ranges(x if calibration is None else calibration)
            if len(x) or calibration is not None
            else np.zeros((2, x.shape[-1]))
        )
    ranges = np.asarray(ranges, np.float32)
    if ranges.shape != (2, x.shape[-1]):
        raise ConfigError(f"ranges have the shape (2, {x.shape[-1]}), smallest and largest of each dimension, not {ranges.shape}")
    if not (np.isfinite(ranges).all() and (ranges[0] <= ranges[1]).all()):
        raise ConfigError("ranges are finite, and the smallest come first")
    return ranges

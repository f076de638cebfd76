"""What is the same twice: texts that are equal but for case, spaces and forms of characters, and vectors that are near."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable

import numpy as np
from jaxtyping import Float, Int

from jaxemb.config import ConfigError

BLOCK = 1024
"""Rows that are compared with all before them at a time."""


def plain(text: str) -> str:
    """The text without what hardly anybody means: Unicode's NFKC, no case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def first_of_each(keys: Iterable[Hashable]) -> list[int]:
    """Where each key stands for the first time."""
    found: dict[Hashable, int] = {}
    for i, key in enumerate(keys):
        found.setdefault(key, i)
    return list(found.values())


def far_apart(z: Float[np.ndarray, "n d"], threshold: float) -> Int[np.ndarray, " k"]:
    """The rows, in their order, none of which has a cosine of `threshold` or more with one that is kept before it."""
    if not -1 < threshold <= 1:
        raise ConfigError(f"the threshold is a cosine in (-1, 1], not {threshold}")
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    limit = threshold - 4 * np.finfo(z.dtype).eps  # equal vectors have a cosine of 1 but for rounding
    kept = np.zeros(len(z), bool)
    for start in range(0, len(z), BLOCK):
        block = unit[start : start + BLOCK]
        before = np.flatnonzero(kept[:start])
        alone = ~(block @ unit[before].T >= limit).any(1)
        near = block @ block.T >= limit
        for i in np.flatnonzero(alone):
            kept[start + i] = not (near[i, :i] & kept[start : start + i]).any()
    return np.flatnonzero(kept)

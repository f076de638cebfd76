"""Several short texts in one row: no place is spent on padding, and no text sees another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pack(texts: Sequence[np.ndarray], length: int) -> dict[str, np.ndarray]:
    """One row of `length` tokens: the texts one after the other, what does not fit cut off, padding where there is too little.

    `segments` int32: 1, 2, ... by text, 0 for padding. `positions` int32: 0, 1, ... within each text.
    """
    sizes = [len(t) for t in texts]
    tokens, segments, positions = (np.zeros(max(length, sum(sizes)), np.int32) for _ in range(3))
    at = 0
    for number, (text, size) in enumerate(zip(texts, sizes, strict=True), start=1):
        tokens[at : at + size], segments[at : at + size], positions[at : at + size] = text, number, np.arange(size)
        at += size
    return {"tokens": tokens[:length], "segments": segments[:length], "positions": positions[:length]}


def packed_rows(texts: Sequence[np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Rows of whole texts in their order: one that does not fit any more begins the next row, one longer than a row is cut."""
    rows: list[list[np.ndarray]] = [[]]
    left = length
    for text in texts:
        text = text[:length]
        if len(text) > left:
            rows.append([])
            left = length
        rows[-1].append(text)
        left -= len(text)
    packed = [pack(row, length) for row in rows]
    return {name: np.stack([p[name] for p in packed]) for name in packed[0]}

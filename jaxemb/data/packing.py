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


def cut_rows(texts: Sequence[np.ndarray], length: int, count: int | None = None) -> dict[str, np.ndarray]:
    """Rows that are full: the texts one after the other, cut every `length` tokens; what is left of a text begins the next row, as
    a text of its own. What fills no row any more is left out, or of `count` rows: is what they do not need, and where they need
    more than there is, the texts begin again.
    """
    texts = [t for t in texts if len(t)]
    sizes = np.array([len(t) for t in texts], np.int64)
    tokens, total = np.concatenate(texts), int(sizes.sum())
    count = total // length if count is None else count
    again = -(-count * length // total)
    sizes, tokens = np.tile(sizes, again), np.tile(tokens, again)[: count * length].reshape(count, length)
    text = np.repeat(np.arange(len(sizes)), sizes)[: count * length].reshape(count, length)
    ends = np.cumsum(sizes)
    place = np.arange(count * length).reshape(count, length)
    start = np.maximum((ends - sizes)[text], place[:, :1])  # of the text, or of its piece in this row
    return {
        "tokens": tokens.astype(np.int32),
        "segments": (text - text[:, :1] + 1).astype(np.int32),
        "positions": (place - start).astype(np.int32),
    }


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

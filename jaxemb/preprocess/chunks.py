"""Which part of its text a token belongs to, for vectors of parts that have seen the whole (late chunking)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jaxemb.preprocess.base import DataError

Span = tuple[int, int]
"""From the first character to the one behind the last."""
SENTENCE = re.compile(r"\S.*?(?:[.!?…]+[\"')\]»”]*(?=\s|$)|$|(?=\n\s*\n))", re.S)


def sentences(text: str) -> list[Span]:
    """The sentences of a text: up to ., ! or ? before white space, or to an empty line. A rule, which no abbreviation heeds."""
    found = [(m.start(), m.start() + len(m.group().rstrip())) for m in SENTENCE.finditer(text)]
    return [span for span in found if span[0] < span[1]]


def chunk_ids(offsets: Sequence[Span], spans: Sequence[Span], length: int | None = None) -> Int[np.ndarray, " n"]:
    """For each token the number of the span that holds its last character, -1 where none does.

    `offsets`: of each token the characters that it stands for, as the tokenizers library gives them; (0, 0) for special tokens and
    padding, which belong nowhere. `spans`: in any order, apart from each other. `length`: pad with -1 to so many tokens.
    """
    order = sorted(range(len(spans)), key=lambda i: spans[i])
    starts = np.array([spans[i][0] for i in order], np.int64)
    ends = np.array([spans[i][1] for i in order], np.int64)
    if (starts >= ends).any() or (starts[1:] < ends[:-1]).any():
        raise DataError(f"chunks must be spans of characters (start, end) that do not overlap, not {list(spans)[:8]}")
    ids = np.full(len(offsets) if length is None else length, -1, np.int32)
    if len(offsets) > len(ids):
        raise DataError(f"{len(offsets)} tokens do not fit into length={length}")
    if not order or not len(offsets):
        return ids
    given = np.asarray(offsets, np.int64)
    final = given[:, 1] - 1
    at = np.searchsorted(starts, final, side="right") - 1
    inside = (given[:, 0] < given[:, 1]) & (at >= 0) & (final < ends[at])
    ids[: len(given)] = np.where(inside, np.array(order)[at], -1)
    return ids

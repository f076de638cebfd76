"""The family of token maskers: which tokens of a text are hidden and predicted. In numpy, on the host; no JAX.

A masker returns places in a row whose shapes are the same at every call, so that nothing recompiles: `masked` (b k), ascending, and
`masked_mask` (b k), False where a row is padded.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Integer

from jaxemb.config import ConfigError
from jaxemb.ops.draws import Draws
from jaxemb.preprocess.base import DataError
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class TokenMasks:
    """Abstract masker of a share `rate` of the tokens of each row: of f that are free max(1, round(rate f)) at most, at least one.

    What a row gets depends on its place in the order and on the step alone (`ops/draws.py`): other masks at every epoch, and the
    same after a restart and on any number of processes.
    """

    paper: ClassVar[Paper | None] = None

    rate: float = 0.15
    """Share of the tokens that are no padding and not special."""

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ConfigError(f"masks.rate must be above 0 and at most 1, is {self.rate}")

    def choose(
        self,
        free: Bool[np.ndarray, "b n"],
        words: Integer[np.ndarray, "b n"] | None,
        counts: Integer[np.ndarray, " b"],
        draws: Draws,
    ) -> Bool[np.ndarray, "b n"]:
        """Which tokens are hidden, of the `free` ones and at most `counts` of a row. `words`: the number of the word that a token
        belongs to, rising along a row; None: not known."""
        raise TypeError(f"{type(self).__name__} does not define choose")

    def __call__(
        self, free: Bool[np.ndarray, "b n"], draws: Draws, words: Integer[np.ndarray, "b n"] | None = None
    ) -> dict[str, np.ndarray]:
        if len(none := np.flatnonzero(~free.any(1))):
            raise DataError(
                f"row {none[0]} of the batch has no token that can be masked: it is padding and special tokens alone; leave empty "
                "texts out, and give longer ones more than length says"
            )
        hidden = self.choose(free, words, self.counts(free.sum(1)), draws)
        length = self.most(free.shape[1])
        places = np.argsort(~hidden, axis=1, kind="stable")[:, :length].astype(np.int32)
        present = np.arange(length)[None] < hidden.sum(1)[:, None]
        return {"masked": np.where(present, places, 0).astype(np.int32), "masked_mask": present}

    def counts(self, free: Integer[np.ndarray, " b"]) -> Integer[np.ndarray, " b"]:
        """How many of so many free tokens are hidden at most; halves are rounded up."""
        return np.maximum(1, np.floor(self.rate * free + 0.5).astype(np.int64))

    def most(self, length: int) -> int:
        """Of a row of this many tokens: the fixed length of `masked`."""
        return max(1, math.floor(self.rate * length + 0.5))


def by_words(
    order: Integer[np.ndarray, " u"], words: Integer[np.ndarray, " n"], free: Bool[np.ndarray, " n"], count: int
) -> Bool[np.ndarray, " n"]:
    """Whole words of one row in this order, until `count` tokens are hidden; a word that has more than are left is passed over.

    Where no word fits, all being longer than `count`, the first `count` tokens of the first one are hidden: a row without any would
    have no loss.
    """
    hidden, left = np.zeros(len(words), bool), count
    for word in order:
        own = free & (words == word)
        if 0 < own.sum() <= left:
            hidden |= own
            left -= int(own.sum())
        if not left:
            break
    if not hidden.any():
        hidden[np.flatnonzero(free & (words == order[0]))[:count]] = True
    return hidden

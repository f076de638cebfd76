"""Stretches of text."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.token_masks.base import TokenMasks
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Spans(TokenMasks):
    """Stretches of words of geometric length, P(l) ~ p (1 - p)^(l - 1) for l = 1 .. longest (SpanBERT, Joshi et al. 2020).

    With p = .2 and longest = 10 a stretch has 3.8 words in the mean. Words are those of the batch's `words` (b n), and every token
    is one where there are none. Stretches begin anywhere; what is over the share is cut off the last one.
    """

    paper: ClassVar[Paper | None] = Paper(
        "SpanBERT: Improving Pre-training by Representing and Predicting Spans", 2020, "arxiv.org/abs/1907.10529"
    )

    p: float = 0.2
    longest: int = 10
    """Words of a stretch at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.p <= 1 or self.longest < 1:
            raise ConfigError(f"masks.p must be above 0 and at most 1, and longest at least 1, not {self.p} and {self.longest}")

    def lengths(self) -> np.ndarray:
        """P(l) of l = 1 .. longest."""
        chances = self.p * (1 - self.p) ** np.arange(self.longest)
        return chances / chances.sum()

    def choose(self, free, words, counts, draws):
        words = np.broadcast_to(np.arange(free.shape[1]), free.shape) if words is None else words
        ends = np.cumsum(self.lengths())
        # As many pairs (where, how long) as there are tokens: more than ever needed but for rates near 1, see below.
        drawn = draws.random(2, free.shape[1])
        return np.stack([self._row(*row, ends) for row in zip(words, free, counts.tolist(), drawn, strict=True)])

    def _row(self, words: np.ndarray, free: np.ndarray, count: int, drawn: np.ndarray, ends: np.ndarray) -> np.ndarray:
        names = np.unique(words[free])
        number = np.where(free, np.searchsorted(names, words), -1)  # of a word among those that are free
        hidden = np.zeros(len(words), bool)
        starts = (drawn[0] * len(names)).astype(int)
        for start, length in zip(starts, np.searchsorted(ends, drawn[1], side="right") + 1, strict=True):
            span = np.flatnonzero((number >= start) & (number < start + length) & ~hidden)
            hidden[span[: count - int(hidden.sum())]] = True
            if hidden.sum() == count:
                return hidden
        rest = np.flatnonzero(free & ~hidden)  # the draws ran out, which a rate near 1 may come to
        hidden[rest[: count - int(hidden.sum())]] = True
        return hidden

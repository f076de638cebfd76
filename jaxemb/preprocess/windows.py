"""Long texts in windows that a model can take, each embedded alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int, Integer

from jaxemb.config import ConfigError, choices
from jaxemb.ops.maxsim import maxsim
from jaxemb.types import Paper

REDUCES = ("mean", "max")


@dataclasses.dataclass(frozen=True)
class ParallelWindows:
    """Parallel context windows: the tokens of a text are cut into windows without overlap, each with the special tokens and the
    prompt of its own, and each embedded alone. Where the last window would be short it starts earlier, so that it is full.

        mean    the mean of the windows' vectors, before anything makes their length 1
        max     a vector a window; two texts are as similar as the two of their windows that are most similar

    The mean is that of LongEmbed. What stands in the overlap of the last two windows counts twice in it; such texts can become
    hubs, near to every query, which the maximum is not open to.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LongEmbed: Extending Embedding Models for Long Context Retrieval", 2024, "arxiv.org/abs/2404.12096"
    )

    reduce: str = "mean"
    original: int | None = None
    """Tokens of a window, special tokens and prompt included; None: as many as the model takes."""

    def __post_init__(self) -> None:
        choices(self, reduce=REDUCES)
        if self.original is not None and self.original < 1:
            raise ConfigError(f"ParallelWindows.original={self.original} must be at least 1")

    def cut(
        self,
        rows: Sequence[Integer[np.ndarray, " _"]],
        window: int | None,
        before: Sequence[int] = (),
        after: Sequence[int] = (),
    ) -> tuple[list[Int[np.ndarray, " _"]], Int[np.ndarray, " b"]]:
        """(the windows of all texts, one text after the other; how many each text has). `rows` are the tokens of the texts without
        `before` (first special tokens, prompt) and `after` (last special tokens), `window` is what the model takes."""
        size = window if self.original is None else self.original
        if size is None:
            raise ConfigError("ParallelWindows.original=None takes the length of the model's window, and it takes any; name one")
        if window is not None and size > window:
            raise ConfigError(f"ParallelWindows.original={size} is more than the {window} tokens that the model takes")
        body = size - len(before) - len(after)
        if body < 1:
            raise ConfigError(
                f"ParallelWindows: a window of {size} tokens has no room for text beside the {len(before) + len(after)} of the "
                "prompt and the special tokens"
            )
        head, tail = np.asarray(before, np.int32), np.asarray(after, np.int32)
        pieces, counts = [], []
        for row in rows:
            found = bounds(len(row), body)
            counts.append(len(found))
            pieces += [np.concatenate([head, row[start:stop], tail]).astype(np.int32) for start, stop in found]
        return pieces, np.asarray(counts, np.int64)

    def join(self, z: Float[np.ndarray, "r d"], counts: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b d"] | list[np.ndarray]:
        """The embeddings of the texts, from those of their windows: "mean" one vector each, "max" a matrix each (windows d)."""
        parts = np.split(z, np.cumsum(counts)[:-1]) if len(counts) else []
        if self.reduce == "max":
            return parts
        return np.stack([part.mean(0, dtype=z.dtype) for part in parts]) if parts else z[:0]


def bounds(tokens: int, size: int) -> Int[np.ndarray, "c 2"]:
    """First token and the one after the last, of each window of `size` in a text of `tokens`; a short text is one window."""
    stops = np.minimum(np.arange(1, max(-(-tokens // size), 1) + 1) * size, tokens)
    return np.stack([np.maximum(stops - size, 0), stops], axis=1)


def nearest(a: Sequence[np.ndarray] | np.ndarray, b: Sequence[np.ndarray] | np.ndarray) -> Float[np.ndarray, "n m"]:
    """Of all pairs of texts, given as matrices of window vectors (or single vectors): the largest cosine of two windows."""
    return maxsim(a, b, "cosine", "max")

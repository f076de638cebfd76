"""Texts of any length for an `Embedder`: cut into parallel windows, each embedded, and made one again."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxemb.config import ConfigError
from jaxemb.io.finishing import Finish
from jaxemb.ops.similarity import unit
from jaxemb.preprocess.base import Items
from jaxemb.preprocess.hf_text import Cut, PretrainedText, special_tokens
from jaxemb.preprocess.windows import ParallelWindows

ENDLESS = 2**40
"""Tokens, where nothing is cut off."""


class Windowed(NamedTuple):
    """How texts are taken apart and put together."""

    how: ParallelWindows
    normalize: bool = False
    """Whether vectors get length 1 after they are put together, as the model's own chain ends."""

    def cut(self, preprocess: PretrainedText, items: Items, prompt: str) -> tuple[Cut, Int[np.ndarray, " b"]]:
        """(the windows of all texts as rows of ids, the prompt's before each; how many each text has)."""
        endless = dataclasses.replace(preprocess, length=ENDLESS)
        whole = endless.cut(items)
        rows = [whole.ids[start : start + n] for start, n in zip(whole.starts, whole.lengths, strict=True)]
        first, last, _ = special_tokens(preprocess.learned or "")
        asked = endless.cut([prompt]).ids.tolist() if prompt else []
        pieces, counts = self.how.cut(rows, preprocess.length, [*first, *asked], last)
        pieces = [piece[len(first) : len(piece) - len(last)] for piece in pieces]  # special tokens come where rows are padded
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        ids = np.concatenate(pieces).astype(np.int32)
        return Cut(ids, np.cumsum(lengths) - lengths, lengths, np.zeros_like(lengths)), counts

    def join(self, z: np.ndarray, counts: Int[np.ndarray, " b"], finish: Finish) -> Any:
        """A row a text, or with "max" a matrix a text with a row a window."""
        found = self.how.join(z, counts)
        if isinstance(found, list) and finish.finds_ranges:
            raise ConfigError(f"precision={finish.precision!r} of a vector a window needs `ranges`: give the smallest and largest")
        own = unit if self.normalize else lambda x: x
        return [finish(own(x)) for x in found] if isinstance(found, list) else finish(own(found))

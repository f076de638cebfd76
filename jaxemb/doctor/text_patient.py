"""A model of texts as the doctor sees it: its tokens, its vectors of texts and of their halves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxemb.data.base import DataError
from jaxemb.doctor.sentences import SENTENCES
from jaxemb.io.embedder import Embedder
from jaxemb.metrics.neighbours import found_again
from jaxemb.preprocess.hf_text import PretrainedText

FEWEST = 20
"""Texts below which nothing is measured."""
WORDS = 8
"""Of a text that has halves."""
HALVES = 200
"""Texts at most whose halves are compared."""


class TextPatient:
    """What the checks of texts ask for, computed when it is first asked for."""

    def __init__(self, embedder: Embedder, texts: Sequence[str] | None = None, *, samples: int = 512):
        """`texts`: what the model is used for; None: sentences that come along. At most `samples` of them, drawn."""
        self.embedder, self.given = embedder, texts is not None
        known = list(SENTENCES if texts is None else texts)
        if min(len(known), samples) < FEWEST:
            raise DataError(f"{min(len(known), samples)} texts are too few to examine a model: give at least {FEWEST}")
        rows = np.random.default_rng(0).choice(len(known), min(samples, len(known)), replace=False)
        self.texts: list[str] = [known[i] for i in np.sort(rows)]

    @functools.cached_property
    def encoded(self) -> tuple[np.ndarray, Any]:
        """The vectors of the texts as a user gets them from `encode`, and the report."""
        z, report = self.embedder.encode(self.texts, report=True, show_progress_bar=False)
        return np.asarray(z, np.float64), report

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        preprocess = self.embedder.preprocess
        if isinstance(preprocess, PretrainedText):
            return preprocess.lengths(preprocess.cut(self.texts))
        return np.concatenate([preprocess([text])["mask"].sum(1) for text in self.texts])

    @functools.cached_property
    def halves(self) -> list[str]:
        """The first halves of the longer texts, then their second halves; none twice."""
        words = [text.split() for text in dict.fromkeys(self.texts) if len(text.split()) >= WORDS][:HALVES]
        return [" ".join(w[: len(w) // 2]) for w in words] + [" ".join(w[len(w) // 2 :]) for w in words]

    @property
    def pairs(self) -> int:
        """Texts with halves."""
        return len(self.halves) // 2

    def recognised(self, prompt: str | None = None) -> float:
        """How often one half of a text is nearest to the other, with a prompt in place of the usual one."""
        z = self.embedder.encode(self.halves, prompt=prompt, show_progress_bar=False)
        return found_again(*np.split(np.asarray(z), 2))

    @functools.cached_property
    def own(self) -> float:
        """The same, as the model is."""
        return self.recognised()

    @functools.cached_property
    def pooled(self) -> dict[str, float]:
        """The same by other poolings of the last layer's tokens."""
        arrays = self.embedder.preprocess(self.halves)
        f = self.embedder.features(arrays)
        tokens, mask = np.asarray(f.tokens, np.float64), np.asarray(f.mask)
        row = np.arange(len(tokens))
        vectors = {
            "mean": (tokens * mask[..., None]).sum(1) / np.maximum(mask.sum(1), 1)[:, None],
            "first token": tokens[row, mask.argmax(1)],
            "last token": tokens[row, mask.shape[1] - 1 - mask[:, ::-1].argmax(1)],
            "largest": np.where(mask[..., None], tokens, -np.inf).max(1),
        }
        return {name: found_again(*np.split(z, 2)) for name, z in vectors.items()}

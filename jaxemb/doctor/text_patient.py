"""A model of texts as the doctor sees it: its tokens, its vectors of texts and of their halves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.doctor.sentences import SENTENCES
from jaxemb.io.embedder import Embedder
from jaxemb.io.feeding import Tally, pieces
from jaxemb.metrics.neighbours import found_again
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.train.sharding import row_shards

FEWEST = 20
"""Texts below which nothing is measured."""
WORDS = 8
"""Of a text that has halves."""
HALVES = 200
"""Texts at most whose halves are compared."""
BATCH = 32
"""Of them pooled at a time, where they have 128 tokens: of longer ones fewer, since the vectors of all tokens are in memory."""


class TextPatient:
    """What the checks of texts ask for, computed when it is first asked for."""

    def __init__(self, embedder: Embedder, texts: Sequence[str] | None = None, *, samples: int = 512):
        """`texts`: what the model is used for; None: sentences that come along. At most `samples` of them, drawn."""
        refuse(embedder)
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

    @property
    def usual(self) -> str:
        """The prompt that goes before a text without being asked for."""
        return self.embedder.prompts.get(self.embedder.default_prompt_name or "", "")

    @functools.cached_property
    def own(self) -> float:
        """The same, as the model is."""
        return self.recognised()

    @functools.cached_property
    def pooled(self) -> dict[str, float]:
        """The same by other poolings of the last layer's tokens: of the very tokens that the model's own pooling gets, those behind
        the usual prompt, and where the prompt is left out, without its own."""
        e, found = self.embedder, dict[str, np.ndarray]()
        for piece in pieces(e.preprocess, self.halves, "document", self.usual, BATCH, row_shards(e.mesh), Tally()):
            f = e.features(piece.arrays)
            mask = np.asarray(f.mask) & np.asarray(piece.arrays.get("pooled", True))
            for name, z in pooled(np.asarray(f.tokens, np.float64), mask).items():
                whole = found.setdefault(name, np.empty((len(self.halves), z.shape[1])))
                whole[piece.rows] = z[: len(piece.rows)]
        return {name: found_again(*np.split(z, 2)) for name, z in found.items()}


def pooled(tokens: Float[np.ndarray, "b n d"], mask: Bool[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, "b d"]]:
    """One vector a row, in several ways; zeros where no token counts."""
    row, there = np.arange(len(tokens)), mask.any(1, keepdims=True)
    return {
        "mean": (tokens * mask[..., None]).sum(1) / np.maximum(mask.sum(1), 1)[:, None],
        "first token": tokens[row, mask.argmax(1)] * there,
        "last token": tokens[row, mask.shape[1] - 1 - mask[:, ::-1].argmax(1)] * there,
        "largest": np.where(there, np.where(mask[..., None], tokens, -np.inf).max(1), 0),
    }


def refuse(embedder: Embedder, name: str = "this model") -> None:
    """Refuses a model that does not give one vector a text."""
    e, spec = embedder, embedder.preprocess.spec
    spec = spec.get("text", spec)
    if "tokens" not in spec:
        raise ConfigError(f"{name} takes {', '.join(spec)}; beside runs, the doctor examines models of texts alone")
    example = {n: jax.ShapeDtypeStruct((1, *s.shape), s.dtype) for n, s in spec.items()}
    vector = jax.eval_shape(lambda v, b: e.model.apply(v, b, method="encode"), e.variables, example)
    if vector.ndim == 2 and (e.windows is None or e.windows.how.reduce == "mean"):
        return
    why = (
        f"pooling={type(getattr(e.model, 'pooling', None)).__name__}"
        if vector.ndim != 2
        else "extend=ParallelWindows(reduce='max')"
    )
    raise ConfigError(f"{name} gives several vectors a text ({why}); the doctor examines models of one vector a text")

"""An `Embedder` as evaluations of texts see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxemb.io.embedder import Embedder
from jaxemb.ops.maxsim import Matrices

NOTED = ("prompt", "max_length", "rows", "rows_cut", "tokens", "tokens_lost", "pooling", "dtype", "precision", "width")
"""Of a report: what figures depend on."""


class TextModel:
    """Encodes texts in the embedder's own way, and notes what was done to them."""

    def __init__(self, embedder: Embedder):
        self._embedder = embedder
        self.similarity_fn_name = embedder.similarity_fn_name
        self.notes: dict[str, dict[str, Any]] = {}
        """By role, "query", "document" or "text": what `Embedder.encode(report=True)` says."""

    def encode_texts(
        self, texts: Sequence[str], *, role: str | None, prompt: str | None, tokens: bool = False
    ) -> np.ndarray | Matrices:
        """A vector a text, or a matrix."""
        e = self._embedder
        run = e.encode_query if role == "query" else e.encode_document if role == "document" else e.encode
        if tokens:
            return Matrices(run(list(texts), prompt=prompt, output_value="token_embeddings"))
        z, report = run(list(texts), prompt=prompt, report=True)
        self.notes[role or "text"] = {name: getattr(report, name) for name in NOTED}
        return Matrices(z, e.how_matrices[1]) if isinstance(z, list) else z

"""How alike embeddings are, in the four ways that sentence-transformers names; larger is more alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from jaxemb.config import ConfigError, suggest
from jaxemb.ops.similarity import unit

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
BLOCK = 2**22
"""Numbers of a block of differences."""


def all_pairs(a: Any, b: Any, kind: str) -> Float[np.ndarray, "n m"]:
    """Of each row of a with each row of b: cosines, products, or distances less than nothing (-|a - b|)."""
    a, b = matrices(a, b, kind)
    if kind == "cosine":
        return unit(a) @ unit(b).T
    if kind == "dot":
        return a @ b.T
    rows = max(BLOCK // max(b.size, 1), 1)
    blocks = [_distances(a[i : i + rows, None], b[None], kind) for i in range(0, len(a), rows)]
    return np.concatenate(blocks) if blocks else np.zeros((0, len(b)), np.float32)


def row_by_row(a: Any, b: Any, kind: str) -> Float[np.ndarray, " n"]:
    """Of the first row of a with the first of b, and so on."""
    a, b = matrices(a, b, kind)
    if len(a) != len(b):
        raise ConfigError(f"rows are compared one by one, and there are {len(a)} and {len(b)}")
    if kind in ("cosine", "dot"):
        return ((unit(a) * unit(b)) if kind == "cosine" else a * b).sum(-1)
    return _distances(a, b, kind)


def matrices(a: Any, b: Any, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as rows of floats of one width; a vector is a single row."""
    if kind not in SIMILARITIES:
        raise ConfigError(f"similarity_fn_name={kind!r}{suggest(str(kind), SIMILARITIES)}")
    a, b = (np.atleast_2d(np.asarray(x)) for x in (a, b))
    for x in (a, b):
        if x.ndim != 2 or x.dtype == object:
            raise ConfigError(f"embeddings are rows of numbers of one width, not an array of shape {x.shape} and type {x.dtype}")
    if a.shape[1] != b.shape[1]:
        raise ConfigError(
            f"embeddings of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared: they are of different models"
        )
    return a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)


def _distances(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    apart = a - b
    return -np.sqrt((apart * apart).sum(-1)) if kind == "euclidean" else -np.abs(apart).sum(-1)

"""How alike texts are that have a vector a token, or a vector a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float

from jaxemb.config import ConfigError
from jaxemb.ops.similarity import unit

A = TypeVar("A")

KINDS = ("cosine", "dot")
OVER = ("sum", "max")
ROWS = 2048
"""Vectors of a side that are compared at a time; a text is never cut, so of a longer one all,"""
BLOCK = 2**22
"""but never more products than this, or than one vector has."""


@dataclass(frozen=True)
class Matrices:
    """A matrix a text, with rows of one width, and how two of them are compared (see `maxsim`)."""

    each: list[np.ndarray]
    over: str = "sum"

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, which: Any) -> Matrices:
        """Some of the texts: a slice, or their numbers."""
        found = self.each[which] if isinstance(which, slice) else [self.each[i] for i in which]
        return Matrices(found, self.over)


def maxsim(a: Any, b: Any, kind: str = "cosine", over: str = "sum") -> Float[np.ndarray, "n m"]:
    """Of all pairs of a matrix q of a and a matrix d of b, rows being tokens (or windows):

        sum   sum_i max_j q_i . d_j, the late interaction of ColBERT (Khattab and Zaharia 2020): of a query and a document
        max   max_i max_j q_i . d_j, of the two windows that are most similar

    With "cosine" rows get length 1 before. Rows of zeros are padding and never count; a matrix without any other has 0 with all.
    NumPy's arrays or JAX's; memory is that of `BLOCK` products, beside the matrices themselves.
    """
    left, right = _rows(a, kind, over), _rows(b, kind, over)
    _same_width(left, right)
    scores = np.zeros((len(left), len(right)), np.float32)
    for rows in _groups(left):
        queries = np.concatenate([left[i] for i in rows])
        for columns in _groups(right):
            best = _best(queries, [right[i] for i in columns])
            reduce = np.add if over == "sum" else np.maximum
            scores[np.ix_(rows, columns)] = reduce.reduceat(best, _starts([left[i] for i in rows]), axis=0)
    return scores


def padded_maxsim(
    q: Float[A, "b t d"],
    d: Float[A, "m n d"],
    q_real: Bool[A, "b t"] | None = None,
    d_real: Bool[A, "m n"] | None = None,
    *,
    mean: bool = False,
) -> Float[A, "b m"]:
    """MaxSim of all pairs by products, sum_i max_j q_i . d_j over the tokens that are real; traced, with a gradient: for losses,
    and for search on devices. `maxsim` is of matrices of any length, on the host.

    `q_real`, `d_real`: which rows are tokens; None: all that are not zeros. `mean`: over the real tokens of q, not their sum. A
    matrix without any token has 0 with all, and no gradient. All b m t n products are in memory.
    """
    return _padded(q, d, q_real, d_real, mean)


def _padded(q: Any, d: Any, q_real: Any, d_real: Any, mean: bool) -> Any:
    xp = q.__array_namespace__()
    q_real, d_real = ((x != 0).any(-1) if real is None else real for x, real in ((q, q_real), (d, d_real)))
    products = xp.einsum("btd,mnd->bmtn", q, d, optimize=True)
    best = xp.where(d_real[None, :, None], products, -xp.inf).max(-1)
    counts = q_real[:, None] & d_real.any(1)[None, :, None]
    total = xp.where(counts, best, xp.zeros_like(best)).sum(-1)
    return total / xp.maximum(q_real.sum(1), 1).astype(total.dtype)[:, None] if mean else total


def maxsim_row_by_row(a: Any, b: Any, kind: str = "cosine", over: str = "sum") -> Float[np.ndarray, " n"]:
    """Of the first of a with the first of b, and so on."""
    if len(a) != len(b):
        raise ConfigError(f"rows are compared one by one, and there are {len(a)} and {len(b)}")
    found = [maxsim([q], [d], kind, over)[0, 0] for q, d in zip(a, b, strict=True)]
    return np.asarray(found, np.float32)


def ragged(x: Any) -> bool:
    """Whether these embeddings are a matrix a text, rather than a vector."""
    if isinstance(x, list | tuple):
        return any(getattr(each, "ndim", 0) == 2 for each in x)
    return getattr(x, "ndim", 0) == 3


def texts(x: Any) -> list[Any]:
    """The matrices of embeddings of which each text has one: a matrix alone is one text, as `encode` gives it for a single one."""
    if getattr(x, "ndim", 0) == 2 and len(x):
        return [x]
    return list(x)


def _rows(x: Any, kind: str, over: str) -> list[np.ndarray]:
    """Without padding, float32."""
    if kind not in KINDS:
        raise ConfigError(f"a matrix a text is compared by cosine or dot, not by {kind!r}")
    if over not in OVER:
        raise ConfigError(f"over={over!r}; valid: {', '.join(OVER)}")
    found = [np.atleast_2d(np.asarray(each)) for each in x]
    for each in found:
        if each.ndim != 2 or each.dtype == object:
            raise ConfigError(f"a text is a matrix with a row a token, not an array of shape {each.shape} and type {each.dtype}")
    found = [each.astype(np.float32, copy=False)[(each != 0).any(1)] for each in found]
    return [unit(each) for each in found] if kind == "cosine" else found


def _same_width(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    widths = {each.shape[1] for each in (*left, *right)}
    if len(widths) > 1:
        raise ConfigError(
            f"embeddings of {min(widths)} and of {max(widths)} numbers cannot be compared: they are of different models"
        )


def _groups(matrices: list[np.ndarray]) -> Iterator[list[int]]:
    """Numbers of texts that have about `ROWS` rows together, those without any left out."""
    found, count = [], 0
    for i, each in enumerate(matrices):
        if found and count + len(each) > ROWS:
            yield found
            found, count = [], 0
        if len(each):
            found.append(i)
            count += len(each)
    if found:
        yield found


def _starts(matrices: list[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, matrices[:-1])])


def _best(queries: Float[np.ndarray, "r d"], documents: list[np.ndarray]) -> Float[np.ndarray, "r m"]:
    """Of each row the largest product with a row of each document."""
    rows, starts = np.concatenate(documents), _starts(documents)
    step = max(BLOCK // len(rows), 1)
    blocks = [np.maximum.reduceat(queries[i : i + step] @ rows.T, starts, axis=1) for i in range(0, len(queries), step)]
    return np.concatenate(blocks)

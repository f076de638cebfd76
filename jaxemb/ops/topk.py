"""The largest entries of rows, equals in a known order."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def largest(scores: Float[np.ndarray, "q n"], k: int) -> Int[np.ndarray, "q k"]:
    """The columns of the k largest entries of each row, falling; of equals the first column first. k is at most n."""
    if k < scores.shape[1]:
        kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        above, level = scores > kth, scores == kth
        kept = above | (level & (level.cumsum(1) <= k - above.sum(1, keepdims=True)))
        columns = np.nonzero(kept)[1].reshape(len(scores), k)
    else:
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    by = np.argsort(-np.take_along_axis(scores, columns, 1), axis=1, kind="stable")
    return np.take_along_axis(columns, by, 1)

"""Items that share an aspect: positive pairs from labels, and triplets whose negatives are labelled too."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from jaxemb.data.base import DataError


def sharing(labels: Bool[np.ndarray, "n k"], most: int) -> Bool[np.ndarray, "n n"]:
    """Whether two different items share a label that fewer than `most` items have (Ostendorff et al. 2022: 100).

    Symmetric, and not transitive: items of several labels belong to several groups.
    """
    kept = labels[:, labels.sum(0) < most].astype(np.int64)
    return (kept @ kept.T > 0) & ~np.eye(len(labels), dtype=bool)


def aspect_pairs(labels: Bool[np.ndarray, "n k"], most: int = 100) -> Int[np.ndarray, "p 2"]:
    """The positive pairs (i, j), i < j, each once."""
    return np.argwhere(np.triu(sharing(labels, most)))


def aspect_triplets(labels: Bool[np.ndarray, "n k"], most: int = 100, *, seed: int = 0) -> Int[np.ndarray, "p 3"]:
    """The positive pairs with a negative each: a drawn item that has labels of this aspect, and shares none with either.

    Items without a label are no negatives: to tell them from others would be a short cut.
    """
    share = sharing(labels, most)
    labelled = labels[:, labels.sum(0) < most].any(1)
    rng, found = np.random.default_rng(seed), []
    for i, j in aspect_pairs(labels, most):
        free = np.flatnonzero(labelled & ~share[i] & ~share[j] & (np.arange(len(labels)) != i) & (np.arange(len(labels)) != j))
        if len(free):
            found.append((i, j, rng.choice(free)))
    if not found:
        raise DataError(f"no two of {len(labels)} items share a label of fewer than {most} items that a third one lacks")
    return np.asarray(found)

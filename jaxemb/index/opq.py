"""Optimised product quantisation: a rotation first, after which the parts lose least."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import within
from jaxemb.index.base import Tree
from jaxemb.index.pq import PQ
from jaxemb.ops.product_codes import codes, decoded
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class OPQ(PQ):
    """PQ of y = A x, A orthogonal: products and distances stay, and |A x - y'|^2 of rows x and their decoded y' is made small.

    By turns: one round of k-means of the parts of y; then the A that is best for these y' (Procrustes): A^T = U V^T, with
    U S V^T = X^T Y' of the rows. It starts from principal directions, dealt out so that the variances of every part have about the
    same product, which is best for normal rows.
    """

    paper: ClassVar[Paper | None] = Paper("Optimized Product Quantization", 2014, "https://doi.org/10.1109/TPAMI.2013.240")

    turns: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, turns=(0, 2**16))

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        rows, rotation, c = jnp.asarray(x), dealt(self.cut(x)), None
        for turn in range(self.turns):
            parts = self.cut(rows @ rotation.T)
            c = self.centroids(parts, self.rounds if turn == 0 else 1, c)
            rotation = procrustes(rows, decoded(codes(parts, c), c))
        return {"rotation": rotation, "centroids": self.centroids(self.cut(rows @ rotation.T), self.rounds, c)}

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        return super().encode(learned, x @ np.asarray(learned["rotation"]).T)

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        return super().scores(learned, rows, q @ learned["rotation"].T)


def procrustes(x: Float[Array, "s d"], y: Float[Array, "s d"]) -> Float[Array, "d d"]:
    """The orthogonal A of the smallest |X A^T - Y|."""
    u, _, v = jnp.linalg.svd(x.T @ y)
    return (u @ v).T


def dealt(x: Float[np.ndarray, "s p e"]) -> Float[Array, "d d"]:
    """Principal directions as rows, part after part: largest variance first, each goes to the part with the smallest product of
    variances so far that has room."""
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    variance, directions = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True).reshape(flat.shape[1], -1))
    parts: list[list[int]] = [[] for _ in range(x.shape[1])]
    product = np.zeros(len(parts))  # its logarithm, with the smallest variance as 1: every direction makes it larger
    least = max(variance[0], 1e-12 * variance[-1], 1e-300)
    for i in np.argsort(-variance, kind="stable"):
        m: Any = min((m for m, part in enumerate(parts) if len(part) < x.shape[2]), key=lambda m: product[m])
        parts[m].append(i)
        product[m] += np.log(max(variance[i] / least, 1))
    return jnp.asarray(directions[:, np.concatenate(parts)].T.astype(x.dtype))

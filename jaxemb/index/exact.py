"""Every row compared with every query."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.index.base import Index, Tree
from jaxemb.ops.nearest import Best, top_k

DTYPES = ("float32", "bfloat16", "float16")
MEAN_OF = 2**16
"""Rows."""


@dataclasses.dataclass(frozen=True)
class Exact(Index):
    """s = q . x of all rows, cosines those of rows of length 1; for "euclidean" -|q - x|^2 = 2 q . x - |x|^2 - |q|^2, both less
    the mean of the rows: far from zero the squares would hide the distances."""

    dtype: str = "float32"
    """Of the rows that are kept; products are summed in 32 bits. Half precision halves memory, and time where memory is slow."""
    recall: float | None = None
    """Of a TPU's `jax.lax.approx_max_k`, the share of the k best that it is to find; None: all of them. Elsewhere all are found
    in any case."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, dtype=DTYPES)
        if self.recall is not None and not 0 < self.recall <= 1:
            raise ConfigError(f"Exact.recall is a share in (0, 1], not {self.recall}")

    @property
    def sample(self) -> int:
        return MEAN_OF if self.similarity == "euclidean" else 0

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        return {"mean": x.mean(0)}

    @property
    def largest(self) -> float:
        most = float(jnp.finfo(self.dtype).max)
        return most / 2 if self.similarity == "euclidean" else most  # less the mean, which may lie on the other side

    def decode(self, learned: Tree, rows: Tree) -> Float[np.ndarray, "n d"]:
        """The vectors that rows were made of, as well as their type holds them."""
        x = np.asarray(rows["x"], np.float32)
        return x + np.asarray(learned["mean"], np.float32) if self.similarity == "euclidean" else x

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        if self.similarity == "euclidean":
            x = x - np.asarray(learned["mean"], x.dtype)
        rows = {"x": x if self.dtype == "float32" else np.asarray(x, jnp.dtype(self.dtype))}
        if self.similarity == "euclidean":
            wide = np.asarray(rows["x"], x.dtype)
            rows["square"] = np.einsum("nd,nd->n", wide, wide)
        return rows

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        x, centred = rows["x"], self.similarity == "euclidean"
        asked = (q - learned["mean"].astype(q.dtype)[None] if centred else q).astype(x.dtype)
        s = jax.lax.dot_general(asked, x, (((1,), (1,)), ((), ())), preferred_element_type=q.dtype)
        if centred:  # squares of what was multiplied, which half precision has rounded
            s = 2 * s - rows["square"][None] - (asked.astype(q.dtype) ** 2).sum(1, keepdims=True)
        return s

    def select(self, scores: Float[Array, "b m"], k: int) -> Best:
        share = self.recall
        if share is None:
            return top_k(scores, k)
        near: Any = jax.lax.platform_dependent(
            scores,
            tpu=lambda s: jax.lax.approx_max_k(s, k, recall_target=share),
            default=lambda s: list(top_k(s, k)),
        )
        return near[0], near[1]

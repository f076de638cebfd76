"""Product quantisation: a vector as the numbers of the centroids that its parts are nearest to."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, within
from jaxemb.index.base import Index, Tree
from jaxemb.ops.k_means import k_means
from jaxemb.ops.product_codes import codes, packed, products
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class PQ(Index):
    """x = (x_1, ..., x_M) is kept as (j_1, ..., j_M), j_m = argmin_j |x_m - c_mj|^2: M bits / 8 bytes a row, whatever its width.

    The 2^bits centroids c_m of part m are of k-means. Distances are asymmetric, the query is not quantised: with a table of
    t_mj = q_m . c_mj (or -|q_m - c_mj|^2) the score of a row is sum_m t_m,j_m.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Product Quantization for Nearest Neighbor Search", 2011, "https://doi.org/10.1109/TPAMI.2010.57"
    )
    axis: ClassVar[int] = 1

    parts: int = 16
    """M, a divisor of the width."""
    bits: int = 8
    """Of a code, at most 8."""
    rounds: int = 25
    """Of k-means."""
    sample: int = 2**16
    """The most rows that centroids are learned from."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, parts=(1, 2**16), bits=(1, 8), rounds=(1, 2**16), sample=(1, 2**31))

    def learn(self, x: Float[np.ndarray, "s d"]) -> Tree:
        return {"centroids": self.centroids(self.cut(x), self.rounds)}

    def encode(self, learned: Tree, x: Float[np.ndarray, "n d"]) -> Tree:
        return {"codes": packed(codes(self.cut(x), learned["centroids"]), self.bits).T}

    def scores(self, learned: Tree, rows: Tree, q: Float[Array, "b d"]) -> Float[Array, "b m"]:
        return products(self.cut(q), learned["centroids"], rows["codes"], self.bits, self.similarity == "euclidean")

    def cut(self, x: Any) -> Any:
        """(n d) -> (n M d/M)."""
        if x.shape[1] % self.parts:
            raise ConfigError(f"{type(self).__name__}.parts={self.parts} does not divide vectors of {x.shape[1]} numbers")
        return x.reshape(len(x), self.parts, -1)

    def centroids(self, x: Any, rounds: int, start: Any = None) -> Float[Array, "p k e"]:
        """2^bits of each part, of rows (s M d/M) and from a start."""
        starts = [None] * self.parts if start is None else start
        found = [k_means(x[:, m], 2**self.bits, rounds=rounds, seed=self.seed + m, start=starts[m]) for m in range(self.parts)]
        return jnp.stack(found)

"""A vector a token, to be compared one by one."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import within
from jaxemb.layers.dense import Dense
from jaxemb.ops.dtypes import wide
from jaxemb.ops.similarity import unit
from jaxemb.pooling.base import Pooling
from jaxemb.types import Features, Paper


class LateInteraction(Pooling):
    """z_i = W x_i / |W x_i| for every token: what a score sum_i max_j q_i . d_j of a query and a document is made of.

    Parameters: proj (d, features), without a bias. Tokens that do not count get zeros, which is also how a reader knows them.
    """

    paper: ClassVar[Paper | None] = Paper(
        "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
        2020,
        "arxiv.org/abs/2004.12832",
    )

    features: int | None = None
    """Width of the vectors (128 in the paper); None: the tokens as they are, without a projection."""
    normalize: bool = True
    """Vectors of length 1, so that their products are cosines."""

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, features=(1, 2**20))

    def setup(self) -> None:
        if self.features is not None:
            self.proj = Dense(self.features, use_bias=False, kernel_init="lecun")

    def __call__(self, f: Features) -> Float[Array, "b n k"]:
        # Before they are divided by their length: what does not count may be anything, also NaN.
        z = jnp.where(f.mask[:, :, None], f.tokens, 0)
        if self.features is not None:
            z = self.proj(z)
        return unit(z.astype(wide(z))).astype(z.dtype) if self.normalize else z

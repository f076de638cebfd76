"""Relative position encoding for images: buckets that grow with distance, along each axis or around."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int, Num

from jaxemb.config import ConfigError, choices
from jaxemb.posemb.base import Places, PosEmb, of_queries
from jaxemb.types import Paper

METHODS = ("product", "cross", "euclidean")
MODES = ("bias", "contextual")


class Buckets(NamedTuple):
    """The bucket of each pair of tokens, shared by all layers: one array for each table."""

    index: tuple[Int[Array, "#b n n"], ...]


class IRPE(PosEmb):
    """Adds a trained bias to the logits by bucketed offset, for grids of any size (image RPE).

        g(x) = round(x)                                                        |x| <= alpha
               sign(x) min(beta, round(alpha + ln(|x|/alpha) / ln(gamma/alpha) (beta - alpha)))      beyond

    The bucket of an offset (query minus key) is (g(row), g(column)) by "product"; "cross" adds up two tables, one an axis; and
    "euclidean" takes g(round(distance)), the same in all directions. With B = floor(beta) an axis has 2B + 1 buckets.
    Parameters, in every layer, all 0 at the start: in mode "bias" `table` (buckets, h), the bias itself, not divided by sqrt(e);
    in mode "contextual" `table` (buckets, e), shared by the heads: bias = q . table[bucket] / sqrt(e). With "cross" there are two,
    `table_0` for rows and `table_1` for columns. The paper's "quantization" is left out. The released code gives the class token
    a bucket of its own; here tokens that are nowhere get no bias. (Constants, rounding, sharing and start are from memory of that
    code: unverified.)
    """

    paper: ClassVar[Paper | None] = Paper(
        "Rethinking and Improving Relative Position Encoding for Vision Transformer", 2021, "arxiv.org/abs/2107.14222"
    )
    axes: ClassVar[int] = 2

    method: str = "product"
    mode: str = "bias"
    alpha: float = 1.9
    """Up to here, in patches, each distance has a bucket of its own."""
    beta: float = 3.8
    """The last bucket, once rounded down."""
    gamma: float = 15.2
    """From here on all distances share the last bucket."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, method=METHODS, mode=MODES)
        if not 0 < self.alpha < self.beta or self.gamma <= self.alpha or self.beta < 1:
            raise ConfigError(
                f"IRPE needs 0 < alpha < beta, alpha < gamma and beta >= 1, not {self.alpha}, {self.beta}, {self.gamma}"
            )

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Buckets:
        pos = places.pos
        if pos.shape[-1] != 2:
            raise ConfigError(f"IRPE was given positions of {pos.shape[-1]} numbers; it is for images, of 2")
        apart = pos[:, :, None] - pos[:, None, :]
        last = int(self.beta)
        if self.method == "euclidean":
            apart = apart.astype(jnp.result_type(float))
            index = (self.bucket(jnp.round(jnp.sqrt((apart**2).sum(-1)))),)
        else:
            rows, columns = self.bucket(apart[..., 0]) + last, self.bucket(apart[..., 1]) + last
            index = (rows * (2 * last + 1) + columns,) if self.method == "product" else (rows, columns)
        # Class and register tokens: a bucket after the table's, where layers add a row of zeros.
        pad = ((0, 0), (prefix, 0), (prefix, 0))
        return Buckets(tuple(jnp.pad(i, pad, constant_values=self.buckets) for i in index))

    @property
    def buckets(self) -> int:
        """Rows of a table."""
        last = int(self.beta)
        return {"product": (2 * last + 1) ** 2, "cross": 2 * last + 1, "euclidean": last + 1}[self.method]

    def bucket(self, x: Num[Array, "*n"]) -> Int[Array, "*n"]:
        """g(x), rounded towards 0 at beta."""
        x = x.astype(jnp.result_type(float))
        size = jnp.abs(x)
        scale = (self.beta - self.alpha) / math.log(self.gamma / self.alpha)
        far = jnp.round(self.alpha + jnp.log(jnp.maximum(size, self.alpha) / self.alpha) * scale)
        return jnp.where(size <= self.alpha, jnp.round(x), jnp.sign(x) * jnp.minimum(far, self.beta)).astype(jnp.int32)

    @nn.compact
    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b h n m"]:
        index = tuple(of_queries(i, q) for i in shared.index)
        if len(index) == 1:
            return self._read("table", q, index[0])
        rows, columns = index
        return self._read("table_0", q, rows) + self._read("table_1", q, columns)

    def _read(self, name: str, q: Float[Array, "b n h e"], index: Int[Array, "#b n m"]) -> Float[Array, "#b h n m"]:
        width = q.shape[2] if self.mode == "bias" else q.shape[3]
        table = self.param(name, nn.initializers.zeros, (self.buckets, width), jnp.float32)
        table = jnp.concatenate([table, jnp.zeros((1, width), table.dtype)])
        if self.mode == "bias":
            return jnp.moveaxis(table[index], -1, 1)
        every = jnp.einsum("bnhe,re->bhnr", q * q.shape[-1] ** -0.5, table.astype(q.dtype))
        return jnp.take_along_axis(every, index[:, None], axis=-1)

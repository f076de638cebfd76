"""Disentangled attention: what stands where, and how far apart, as terms of the logits of their own."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int, Num

from jaxemb.config import ConfigError
from jaxemb.layers.dense import ToHeads
from jaxemb.layers.norms import Norm
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.ops.dtypes import wide
from jaxemb.posemb.base import Places, PosEmb, of_queries
from jaxemb.posemb.relative import log32
from jaxemb.types import Paper

TERMS = ("c2p", "p2c")


class Distances(NamedTuple):
    """What the layers share: the vectors of distances, and which one each pair of tokens has."""

    table: Float[Array, "r d"]
    row: Int[Array, "#b n n"]
    """Of query minus key; r where one of them is nowhere."""
    keys: Any = None
    """The table as keys (r h e), of one layer; None: by a projection of this scheme's own, in every layer."""
    queries: Any = None
    """Likewise as queries."""


class Disentangled(PosEmb):
    """Distances have vectors, which every layer makes keys and queries of, beside those of the tokens (DeBERTa).

        logits_ij = (q_i . k_j + q_i . K[row_ij] + k_j . Q[row_ij]) / sqrt((1 + terms) e)
        row_ij    = clip(g(i - j) + S, 0, 2S - 1)
        g(x)      = x for |x| <= S/2, else sign(x) (S/2 + ceil(log(|x| / (S/2)) / log((longest - 1) / (S/2)) (S/2 - 1)))

    `terms` names those after the first: "c2p" content to position, "p2c" position to content. K and Q are projections of one table
    for all layers, by matrices of each layer's own, `k` and `q` (d, h, e) and biases under `attention/pos`; in
    `DisentangledAttention` by those of its own keys and queries. S/2 is rounded down. Sequences alone; of real distances the whole
    part counts. Class and register tokens get no terms.
    Parameters: `table/rows` (2S, d), d = h e, drawn with std .02; those of `norm`.
    """

    paper: ClassVar[Paper | None] = Paper(
        "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", 2021, "arxiv.org/abs/2006.03654"
    )
    axes: ClassVar[int] = 1

    span: int = 256
    """S."""
    longest: int = 512
    """The distance from which on, about, all share the last vector."""
    log: bool = True
    """Far distances share vectors; False: g(x) = x, as in the first DeBERTa."""
    terms: tuple[str, ...] = TERMS
    norm: Norm | None = None
    """Of the table, before it is projected."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.terms or len(set(self.terms)) < len(self.terms) or not set(self.terms) <= set(TERMS):
            raise ConfigError(f"Disentangled.terms={self.terms} must be one or both of {', '.join(TERMS)}")
        if self.span < 2:
            raise ConfigError(f"Disentangled.span must be at least 2, is {self.span}")
        if self.log and self.longest <= self.span // 2 + 1:
            raise ConfigError(f"Disentangled.longest={self.longest} must be above {self.span // 2 + 1}, half of span and one")

    def setup(self) -> None:
        self.table = Table(2 * self.span)

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Distances:
        pos = places.pos
        if pos.shape[-1] != 1:
            raise ConfigError(f"Disentangled was given positions of {pos.shape[-1]} numbers; it is for sequences, of 1")
        table = self.table(heads * width)
        table = table if self.norm is None else self.norm(table)
        row = self.row(pos[:, :, None, 0] - pos[:, None, :, 0])
        return Distances(table, jnp.pad(row, ((0, 0), (prefix, 0), (prefix, 0)), constant_values=2 * self.span))

    def row(self, apart: Num[Array, "*n"]) -> Int[Array, "*n"]:
        """The row of query minus key, of which the whole part counts."""
        apart = apart.astype(jnp.result_type(float))
        steps = jnp.searchsorted(jnp.asarray(self._starts(), apart.dtype), jnp.abs(apart), side="right").astype(jnp.int32)
        return jnp.clip(jnp.where(apart < 0, -steps, steps) + self.span, 0, 2 * self.span - 1)

    def _starts(self) -> list[int]:
        """The first distances where g is 1, 2, ... S. See `RelativeBuckets` for why float32."""
        if not self.log:
            return list(range(1, self.span + 1))
        half, single = self.span // 2, np.float32
        ratio = (self.longest - 1) / half
        last = max(self.longest, math.ceil(half * ratio ** ((self.span - half) / max(half - 1, 1)))) + 1
        distance = np.arange(half, last + 1)
        far = half + np.ceil(log32(distance / half) / log32(ratio) * single(half - 1))
        starts = half + np.searchsorted(far, np.arange(half + 1, self.span + 1))
        return [*range(1, half + 1), *starts[starts <= last].tolist()]

    @nn.compact
    def attend(
        self,
        q: Float[Array, "b n h e"],
        k: Float[Array, "b m h e"],
        v: Float[Array, "b m h e"],
        shared: Any,
        allow: Allow,
        *,
        scale: float | None = None,
        softcap: float | None = None,
    ) -> Float[Array, "b n h e"]:
        h, e = q.shape[2:]
        scale = float(((1 + len(self.terms)) * e) ** -0.5) if scale is None else scale
        row, table = of_queries(shared.row, q), shared.table.astype(q.dtype)
        bias = jnp.zeros((), wide(q))
        if "c2p" in self.terms:
            keys = ToHeads(h, e, name="k")(table) if shared.keys is None else shared.keys
            bias = bias + _chosen(q * scale, keys.astype(q.dtype), row)
        if "p2c" in self.terms:
            queries = ToHeads(h, e, name="q")(table) if shared.queries is None else shared.queries
            bias = bias + jnp.swapaxes(_chosen(k * scale, queries.astype(k.dtype), jnp.swapaxes(row, 1, 2)), 2, 3)
        return attention(q, k, v, bias=bias, allow=allow, scale=scale, softcap=softcap)


class Table(nn.Module):
    """Rows of whatever width is asked for. Parameters: `rows` (r, d)."""

    count: int

    @nn.compact
    def __call__(self, width: int) -> Float[Array, "r d"]:
        return self.param("rows", nn.initializers.normal(0.02), (self.count, width), jnp.float32)


def _chosen(x: Float[Array, "b n h e"], vectors: Float[Array, "r h e"], row: Int[Array, "#b n m"]) -> Float[Array, "b h n m"]:
    """The products of tokens with the vectors of these rows; 0 for rows that there are none of."""
    products = jnp.einsum("bnhe,rhe->bhnr", x, vectors, preferred_element_type=wide(x))
    return jnp.take_along_axis(products, row[:, None], axis=-1, mode="fill", fill_value=0)

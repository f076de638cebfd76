"""Learned biases by relative position: T5's buckets of distance, Swin's table of offsets."""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int, Num

from jaxemb.config import ConfigError, choices
from jaxemb.ops.grid import cell_ids
from jaxemb.posemb.base import Places, PosEmb, of_queries
from jaxemb.types import Paper

EXTENSIONS = (None, "resample")


class RelativeBuckets(PosEmb):
    """Adds a trained bias to the logits by distance: each of the near ones has its own, far ones share buckets that grow.

    With c buckets on a side (half of them, one for each direction; all with `causal`), distances below c/2 have a bucket each;
    the others go to c/2 + floor(log(distance / (c/2)) / log(max_distance / (c/2)) (c/2)), at most c - 1; of odd numbers the half is
    rounded down, to its right too. In causal form all keys ahead share bucket 0. Sequences alone; positions may be real numbers.
    Parameters: `table` (buckets, h), one for all layers as in T5, drawn with std .02 (a choice). T5's logits are not divided by
    sqrt(e); ours are, the bias is not.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020, "arxiv.org/abs/1910.10683"
    )
    axes: ClassVar[int] = 1

    buckets: int = 32
    max_distance: int = 128
    """From here on all distances share the last bucket."""
    causal: bool = False
    """All buckets for keys that come before the query."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 2 if self.causal else 4
        if self.buckets < least:
            raise ConfigError(f"RelativeBuckets.buckets must be at least {least}, is {self.buckets}")
        if self.max_distance <= self.side // 2:
            raise ConfigError(f"RelativeBuckets.max_distance={self.max_distance} must be above {self.side // 2}")

    @property
    def side(self) -> int:
        """Buckets of one direction."""
        return self.buckets if self.causal else self.buckets // 2

    @nn.compact
    def bias(self, q: Places, k: Places, heads: int) -> Float[Array, "#b h n m"]:
        if q.pos.shape[-1] != 1:
            raise ConfigError(f"RelativeBuckets was given positions of {q.pos.shape[-1]} numbers; it is for sequences, of 1")
        table = self.param("table", nn.initializers.normal(0.02), (self.buckets, heads), jnp.float32)
        rows = table[self.bucket(k.pos[:, None, :, 0] - q.pos[:, :, None, 0])]
        return jnp.moveaxis(rows, -1, 1)

    def bucket(self, offset: Num[Array, "*n"]) -> Int[Array, "*n"]:
        """The bucket of key minus query."""
        offset = offset.astype(jnp.result_type(float))
        distance = jnp.maximum(-offset, 0) if self.causal else jnp.abs(offset)
        bucket = jnp.searchsorted(jnp.asarray(self._starts(), offset.dtype), distance, side="right").astype(jnp.int32)
        return bucket if self.causal else bucket + jnp.where(offset > 0, self.side, 0).astype(jnp.int32)

    def _starts(self) -> list[int]:
        """The first whole distance of each bucket but 0. The logarithms are those of published code, in float32: at powers, their
        rounding decides on which side a distance falls."""
        near, single = self.side // 2, np.float32
        distance = np.arange(near, self.max_distance + 1)
        growth = log32(distance / near) / single(math.log(self.max_distance / near))
        bucket = near + (growth * single(self.side - near)).astype(np.int64)
        return [*range(1, near + 1), *(near + np.searchsorted(bucket, np.arange(near + 1, self.side))).tolist()]


def log32(x: Any) -> np.ndarray:
    """The logarithm of x as float32, rounded once, as that of torch: NumPy's own is off by one in the last place now and then."""
    return np.asarray(np.log(np.asarray(x, np.float32).astype(np.float64)), np.float32)


class Lookup(NamedTuple):
    """Where the layers read their tables: a weighted sum of rows, one row of weight 1 for whole positions."""

    rows: tuple[Int[Array, "#b n n"], ...]
    weights: tuple[Float[Array, "#b n n"], ...] | None


class RelativeGrid(PosEmb):
    """Adds a trained bias to the logits by the offset between two cells of a grid: one for each offset that occurs, as in Swin.

        bias = table[row_q - row_k + R - 1, column_q - column_k + C - 1]

    Parameters, in every layer: `table` ((2R-1)(2C-1), h), drawn from a normal of std .02 cut at 2 std.
    Where the grid of the input is known, one that exceeds `shape` is refused unless `extend` says what to do; an offset outside the
    table cannot be refused while tracing: its bias is NaN, and the loop stops at the first loss.
    """

    paper: ClassVar[Paper | None] = Paper(
        "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", 2021, "arxiv.org/abs/2103.14030"
    )

    shape: tuple[int, int] = (16, 16)
    """Rows R and columns C of the largest grid."""
    extend: str | None = None
    """"resample": an input of another R' x C' grid is squeezed or stretched to `shape`, positions times (R-1)/(R'-1) along each
    axis, and the bias read off between the table's rows, linearly along each axis (Swin's release resizes by bicubic)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ConfigError(f"RelativeGrid.shape={self.shape} must be rows and columns, of at least 1")
        choices(self, extend=EXTENSIONS)

    def locate(self, places: Places) -> Num[Array, "_ n a"]:
        pos, grid = places.pos, places.grid
        self._check(pos)
        if grid is None and self.extend is not None:
            raise ConfigError(
                f"RelativeGrid(extend={self.extend!r}) squeezes the grid of the input into its shape, and it is not known here"
            )
        if grid is None or grid == self.shape:
            return pos
        if self.extend == "resample":
            scale = [(s - 1) / max(g - 1, 1) for s, g in zip(self.shape, grid, strict=True)]
            dtype = jnp.result_type(float)
            return pos.astype(dtype) * jnp.asarray(scale, dtype)[None, None]
        if any(g > s for g, s in zip(grid, self.shape, strict=True)):
            raise ConfigError(
                f"RelativeGrid(shape={self.shape}) has no offsets for an input of {' x '.join(map(str, grid))} cells; "
                'name an extension: extend="resample"'
            )
        return pos

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Lookup:
        pos = places.pos
        self._check(pos)
        apart = pos[:, :, None] - pos[:, None, :]
        pad = ((0, 0), (prefix, 0), (prefix, 0))
        nowhere = self.cells  # class and register tokens: a row of zeros after the table's
        if jnp.issubdtype(pos.dtype, jnp.integer):
            return Lookup((jnp.pad(self._row(apart), pad, constant_values=nowhere),), None)
        reach = jnp.asarray([side - 1 for side in self.shape], apart.dtype)[None, None, None]
        outside = (jnp.abs(apart) > reach + 1e-3).any(-1)
        apart = jnp.clip(apart, -reach, reach)  # a scaled distance can pass the last row by a rounding
        low = jnp.clip(jnp.floor(apart), -reach, jnp.maximum(reach - 1, -reach))
        share, rows, weights = apart - low, [], []
        for corner in itertools.product((0, 1), (0, 1)):
            step = jnp.asarray(corner, jnp.int32)[None, None, None]
            weight = jnp.where(step == 1, share, 1 - share).prod(-1)
            cell = jnp.minimum(low.astype(jnp.int32) + step, reach.astype(jnp.int32))
            rows.append(jnp.pad(jnp.where(outside, nowhere + 1, self._row(cell)), pad, constant_values=nowhere))
            weights.append(jnp.pad(weight, pad))
        return Lookup(tuple(rows), tuple(weights))

    @nn.compact
    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b h n m"]:
        heads = q.shape[2]
        table = self.param("table", nn.initializers.truncated_normal(0.02), (self.cells, heads), jnp.float32)
        table = jnp.concatenate([table, jnp.zeros((1, heads), table.dtype)])
        read = [jnp.take(table, of_queries(rows, q), axis=0, mode="fill", fill_value=jnp.nan) for rows in shared.rows]
        if shared.weights is not None:
            weights = [of_queries(weight, q)[..., None].astype(table.dtype) for weight in shared.weights]
            read = [x * weight for x, weight in zip(read, weights, strict=True)]
        return jnp.moveaxis(sum(read[1:], read[0]), -1, 1)

    @property
    def cells(self) -> int:
        """Rows of the table."""
        return (2 * self.shape[0] - 1) * (2 * self.shape[1] - 1)

    def _row(self, apart: Int[Array, "*n 2"]) -> Int[Array, "*n"]:
        """The row of an offset; beyond all rows where there is none."""
        reach = jnp.asarray(self.shape, apart.dtype) - 1
        row, inside = cell_ids(apart + reach.reshape((1,) * (apart.ndim - 1) + (2,)), tuple(2 * side - 1 for side in self.shape))
        return jnp.where(inside, row, self.cells + 1)

    def _check(self, pos: Array) -> None:
        if pos.shape[-1] != 2:
            raise ConfigError(f"RelativeGrid(shape={self.shape}) was given positions of {pos.shape[-1]} numbers")

"""A learned table grown to longer inputs, of which only the new rows are trained."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int, Num

from jaxemb.config import ConfigError, choices
from jaxemb.posemb.base import Places, PosEmb, extent, own_length
from jaxemb.posemb.learned import TAILS, interpolate, lookup
from jaxemb.types import Paper

WAYS = ("interpolate", "recurrent")


class Extended(PosEmb):
    """A table of Lo * s rows that starts from a trained one of Lo rows, which stay bit-identical.

        interpolate  E_t[i s + j] = (1 - j/s) E_o[i] + (j/s) E_o[i+1]: row p is new where p mod s != 0
        recurrent    E_t[p] = E_o[p mod Lo]: row p is new where p >= Lo

    Parameters: `rows` ((s - 1) Lo, d), the new rows in their order. The original rows are `table` (Lo, d) in the collection
    `constants`: no optimiser sees them, so neither gradients nor weight decay move them. `variables_from(table)` makes both.
    To train nothing but the rows: `Optim(freeze=("^(?!.*pos/rows)",))`.
    With "interpolate" an input of at most Lo positions uses the rows 0, s, 2s, ...: the original model, exactly. In training, short
    texts stand for long ones: each example is moved by u ~ Uniform{0, ..., Lo s - n} (skip-wise positions); packed into one row,
    each text by its own u.
    """

    paper: ClassVar[Paper | None] = Paper(
        "LongEmbed: Extending Embedding Models for Long Context Retrieval", 2024, "arxiv.org/abs/2404.12096"
    )

    axes: ClassVar[int] = 1
    original: int = 128
    """Lo: rows of the trained table."""
    factor: int = 2
    """s."""
    how: str = "interpolate"
    tail: str = "clamp"
    """The s - 1 rows that have no right neighbour: "clamp" repeats the last one, "extrapolate" follows the last slope. The paper
    does not say."""
    skip: bool = True
    """Move each training example to a random place."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.original < 1 or self.factor < 2:
            raise ConfigError(f"Extended needs original >= 1 and factor >= 2, not {self.original} and {self.factor}")
        choices(self, how=WAYS, tail=TAILS)

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        pos, grid, total = places.pos, places.grid, self.original * self.factor
        if pos.shape[-1] != 1:
            raise ConfigError(f"Extended is for sequences, it was given positions of {pos.shape[-1]} numbers")
        if grid is not None and grid[0] > total:
            raise ConfigError(f"Extended has {self.original} x {self.factor} = {total} rows, the input has {grid[0]} positions")
        if places.allow.valid is not None:  # padding could be beyond all rows: at -1 in RoBERTa, or times the factor
            pos = jnp.where(places.allow.valid[..., None], pos, 0)
        if places.train and self.skip and (grid is not None or places.allow.segments is not None):
            return pos + self._moves(places, total - (0 if grid is None else grid[0]) + 1)
        if self.how != "interpolate":
            return pos
        if own_length(places):
            return jnp.where(extent(places.pos, places.allow) <= self.original, pos * self.factor, pos)
        return pos * self.factor if grid is not None and grid[0] <= self.original else pos

    def _moves(self, places: Places, free: int) -> Int[Array, "b _ 1"]:
        """u of each example, below `free`, or of each text packed into it."""
        key, dtype, segments = self.make_rng("dropout"), places.pos.dtype, places.allow.segments
        if segments is None:
            return jax.random.randint(key, (places.rows, 1, 1), 0, free, dtype)
        room = self.original * self.factor - extent(places.pos, places.allow) + 1
        drawn = jax.random.uniform(key, (*segments.shape, 1))
        first = (segments[:, :, None] == segments[:, None, :]).argmax(-1)  # all tokens of a text take what its first one drew
        return jnp.floor(jnp.take_along_axis(drawn, first[..., None], axis=1) * room.astype(drawn.dtype)).astype(dtype)

    @nn.compact
    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        shape = (self.original, x.shape[-1])
        old = self.variable("constants", "table", lambda: nn.initializers.normal(0.02)(self.make_rng("params"), shape)).value
        new = self.param("rows", lambda _: self._split(old)[1])
        # Where each row of the whole table stands among the original and the new ones.
        order = np.argsort(np.argsort(new_rows(self.original, self.factor, self.how), kind="stable"), kind="stable")
        table = jnp.concatenate([old.astype(new.dtype), new])[order]
        return x + lookup(table, places.pos, (len(order),)).astype(x.dtype)

    def reach(self, window: int | None) -> int | None:
        return self.original * self.factor

    def variables_from(self, table: Float[Array, "r d"]) -> dict[str, dict[str, Array]]:
        """The variables that start from a trained table, e.g. the `table` of `Learned`."""
        if len(table) != self.original:
            raise ConfigError(f"the table has {len(table)} rows, not original={self.original}")
        old, new = self._split(table)
        return {"params": {"rows": new}, "constants": {"table": old}}

    def _split(self, table: Float[Array, "r d"]) -> tuple[Array, Array]:
        whole = extend_table(table, self.factor, self.how, self.tail)
        return table, whole[np.flatnonzero(new_rows(self.original, self.factor, self.how))]


def extend_table(table: Float[Array, "r d"], factor: int, how: str = "interpolate", tail: str = "clamp") -> Float[Array, "s d"]:
    """A table of r * factor rows: by "interpolate", "recurrent" (row p is row p mod r) or "grouped" (row p // factor)."""
    if how == "recurrent":
        return jnp.tile(table, (factor, 1))
    if how == "grouped":
        return jnp.repeat(table, factor, axis=0)
    place = np.arange(len(table) * factor)[:, None] / factor  # XLA would multiply by 1/factor: no longer whole at all original rows
    return interpolate(table, jnp.asarray(place, table.dtype), (len(table),), tail)


def new_rows(rows: int, factor: int, how: str) -> Bool[np.ndarray, " s"]:
    """Which rows of the extended table are new, and trained."""
    place = np.arange(rows * factor)
    return place % factor != 0 if how == "interpolate" else place >= rows

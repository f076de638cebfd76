"""Grouped attention far away, ordinary attention nearby: longer inputs for a rotary model, without training."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Num

from jaxemb.config import ConfigError
from jaxemb.ops.dtypes import wide
from jaxemb.posemb.base import Shared
from jaxemb.posemb.rotary import Rotary, turn
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper


class Angles(NamedTuple):
    """Cosines and sines of the three kinds of position, and which keys are near or before a query."""

    plain: Any
    grouped: Any
    shifted: Any
    near: Any
    before: Any


class SelfExtend(_Wrapper):
    """Relative positions are exact within a window w, and counted in groups of g beyond it:

        |m - t| < w      m - t
        t <= m - w       floor(m/g) - floor(t/g) + w - floor(w/g)
        t >= m + w       -(floor(t/g) - floor(m/g) + w - floor(w/g))      (bidirectional models)

    The logits of three rotations of q and k are merged by these cases before one softmax (of two, in causal models). Because of
    the floors the merged position depends on m and t, not on their difference alone. The bidirectional form is that of LongEmbed,
    the causal one of LLM Maybe LongLM (Jin et al. 2024).
    """

    paper: ClassVar[Paper | None] = Paper(
        "LLM Maybe LongLM: Self-Extend LLM Context Window Without Tuning", 2024, "arxiv.org/abs/2401.01325"
    )

    of: Rotary = field(default_factory=Rotary)
    group: int = 4
    """g: neighbours that share a position beyond the window."""
    window: int = 64
    """w: distances below it are exact."""
    original: int | None = None
    """Examples of no more positions than this (the training length), padding left out, are attended to plainly; None: none are."""
    chunk: int = 128
    """Queries whose logits are in memory at a time: the three n x n maps never are. 0: all at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.of, Rotary):
            raise ConfigError(f"SelfExtend rotates by positions of its own, it cannot wrap {type(self.of).__name__}, only Rotary")
        if self.group < 1 or self.window < 1 or self.chunk < 0:
            raise ConfigError(
                f"SelfExtend needs group >= 1, window >= 1 and chunk >= 0, not group={self.group}, window={self.window}, "
                f"chunk={self.chunk}"
            )
        if self.original is not None and self.original < 1:
            raise ConfigError(f"SelfExtend.original={self.original} must be at least 1")

    def prepare(self, pos: Num[Array, "#b n a"], *, heads: int, width: int, prefix: int = 0, **known: Any) -> Any:
        if not jnp.issubdtype(pos.dtype, jnp.integer) or pos.shape[-1] != 1:
            raise ConfigError(f"SelfExtend groups whole positions of one number, not {pos.dtype} positions of {pos.shape[-1]}")
        if prefix:
            pos = jnp.pad(pos, ((0, 0), (prefix, 0), (0, 0)))
        near = jnp.abs(pos - pos[:, None, :, 0]) < self.window
        grouped = pos // self.group
        shifted = grouped + self.window - self.window // self.group
        plain, grouped, shifted = (self.of.angles(p, width) for p in (pos, grouped, shifted))
        return Shared(pos, Angles(plain, grouped, shifted, near, pos >= pos[:, None, :, 0]), None)

    def attend(
        self,
        q: Float[Array, "b n h e"],
        k: Float[Array, "b n h e"],
        v: Float[Array, "b n h e"],
        shared: Any,
        *,
        mask: Bool[Array, "b n"] | None = None,
        causal: bool = False,
    ) -> Float[Array, "b n h e"]:
        a, layout = shared.angles, self.of.layout
        near = a.near if self.original is None else a.near | _short(shared.pos[:, :, 0], mask, self.original)
        q = q * q.shape[-1] ** -0.5
        # Rows of queries and keys by kind: the far past is q shifted against k grouped, the far future the other way round.
        sides = [(a.plain, a.plain), (a.shifted, a.grouped)] + ([] if causal else [(a.grouped, a.shifted)])
        # Arrays of their own, b h n e: slices of a stacked one are copied again for every chunk, 1.15x slower on CPU.
        queries = [jnp.swapaxes(turn(q, cosine, sine, layout), 1, 2) for (cosine, sine), _ in sides]
        keys = [jnp.swapaxes(turn(k, cosine, sine, layout), 1, 2) for _, (cosine, sine) in sides]
        values = jnp.swapaxes(v, 1, 2)
        valid = jnp.ones((1, 1, 1, k.shape[1]), bool) if mask is None else mask[:, None, None]
        order = jnp.arange(q.shape[1])

        def rows(queries: list[Array], near: Array, before: Array, place: Array) -> Array:
            """The outputs of some of the queries, b h c e."""
            logits = [
                jnp.einsum("bhce,bhme->bhcm", q, k, preferred_element_type=wide(q)) for q, k in zip(queries, keys, strict=True)
            ]
            far = logits[1] if causal else jnp.where(before[:, None], logits[1], logits[2])
            merged = jnp.where(near[:, None], logits[0], far)
            allowed = valid & (place[:, None] >= order[None])[None, None] if causal else valid
            weights = jax.nn.softmax(jnp.where(allowed, merged, jnp.finfo(merged.dtype).min), axis=-1)
            return jnp.einsum("bhcm,bhme->bhce", weights.astype(v.dtype), values)

        n, c = q.shape[1], self.chunk
        if not c or n <= c:
            return jnp.swapaxes(rows(queries, near, a.before, order), 1, 2)
        cut = [[_cut(x, 2, c) for x in queries], _cut(near, 1, c), _cut(a.before, 1, c), _cut(order, 0, c)]
        out = jnp.moveaxis(jax.lax.map(lambda part: jax.checkpoint(rows)(*part), tuple(cut)), 0, 2)  # b h chunks c e
        return out.reshape(*out.shape[:2], -1, out.shape[-1])[:, :, :n].swapaxes(1, 2)


def _short(pos: Int[Array, "#b n"], mask: Bool[Array, "b n"] | None, original: int) -> Bool[Array, "_ 1 1"]:
    """Which examples are no longer than in training."""
    ends = jnp.iinfo(pos.dtype)
    last = pos.max(1) if mask is None else jnp.where(mask, pos, ends.min).max(1)
    first = pos.min(1) if mask is None else jnp.where(mask, pos, ends.max).min(1)
    return (last - first < original)[:, None, None]


def _cut(x: Array, axis: int, size: int) -> Array:
    """Pieces of this size along an axis, the pieces in front; the last one is filled up with zeros."""
    x = jnp.pad(x, [(0, -x.shape[axis] % size if i == axis else 0) for i in range(x.ndim)])
    return jnp.moveaxis(x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :]), axis, 0)


def relative_positions(pos_q: Int[Array, " n"], pos_k: Int[Array, " m"], group: int, window: int) -> Int[Array, "n m"]:
    """The relative position that each pair is attended with, query minus key: the table of the docstring."""
    q, k = pos_q[:, None], pos_k[None, :]
    exact, grouped = q - k, q // group - k // group
    shift = window - window // group
    return jnp.where(jnp.abs(exact) < window, exact, jnp.where(exact > 0, grouped + shift, grouped - shift))

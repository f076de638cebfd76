"""Grouped attention far away, ordinary attention nearby: longer inputs for a rotary model, without training."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow
from jaxemb.ops.dtypes import wide
from jaxemb.posemb.base import Places, Shared, extent, of_queries
from jaxemb.posemb.rotary import Rotary, turn
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper


class Angles(NamedTuple):
    """Cosines and sines of the three kinds of position."""

    plain: Any
    grouped: Any
    shifted: Any


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
    """Texts of no more positions than this (the training length), padding left out, are attended to plainly; None: none are."""
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

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Any:
        pos = places.pos
        if not jnp.issubdtype(pos.dtype, jnp.integer) or pos.shape[-1] != 1:
            raise ConfigError(f"SelfExtend groups whole positions of one number, not {pos.dtype} positions of {pos.shape[-1]}")
        if prefix:
            pos = jnp.pad(pos, ((0, 0), (prefix, 0), (0, 0)))
        grouped = pos // self.group
        shifted = grouped + self.window - self.window // self.group
        plain, grouped, shifted = (self.of.angles(places.at(p), width) for p in (pos, grouped, shifted))
        return Shared(pos, Angles(plain, grouped, shifted), None)

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
        a, layout, (n, m) = shared.angles, self.of.layout, (q.shape[1], k.shape[1])
        at, places = of_queries(shared.pos, q), shared.pos[:, None, :, 0]
        short = jnp.zeros((1, n, 1), bool)
        if self.original is not None:  # texts no longer than in training
            own = extent(shared.pos, allow) <= self.original
            short = jnp.broadcast_to(own if own.shape[1] == 1 else of_queries(own, q), (own.shape[0], n, 1))
        q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
        # Rows of queries and keys by kind: the far past is q shifted against k grouped, the far future the other way round.
        sides = [(a.plain, a.plain), (a.shifted, a.grouped)] + ([] if allow.causal else [(a.grouped, a.shifted)])
        # Arrays of their own, b h n e: slices of a stacked one are copied again for every chunk, 1.15x slower on CPU.
        queries = [jnp.swapaxes(turn(q, of_queries(c, q), of_queries(s, q), layout), 1, 2) for (c, s), _ in sides]
        keys = [jnp.swapaxes(turn(k, cosine, sine, layout), 1, 2) for _, (cosine, sine) in sides]
        values = jnp.swapaxes(v, 1, 2)

        def rows(queries: list[Array], at: Array, short: Array, place: Array) -> Array:
            """The outputs of some of the queries, b h c e."""
            apart = at - places
            near = (jnp.abs(apart) < self.window) | short
            logits = [
                jnp.einsum("bhce,bhme->bhcm", q, k, preferred_element_type=wide(q)) for q, k in zip(queries, keys, strict=True)
            ]
            far = logits[1] if allow.causal else jnp.where((apart >= 0)[:, None], logits[1], logits[2])
            merged = jnp.where(near[:, None], logits[0], far)
            merged = merged if softcap is None else softcap * jnp.tanh(merged / softcap)
            allowed = allow.mask(n, m, place)
            if allowed is not None:
                merged = jnp.where(allowed, merged, jnp.finfo(merged.dtype).min)
            weights = jax.nn.softmax(merged, axis=-1)
            if allowed is not None:  # as in `ops.attention`: zeros for a query that may look at nothing
                weights = jnp.where(allowed.any(-1, keepdims=True), weights, 0)
            return jnp.einsum("bhcm,bhme->bhce", weights.astype(v.dtype), values)

        order, c = jnp.arange(n), self.chunk
        if not c or n <= c:
            return jnp.swapaxes(rows(queries, at, short, order), 1, 2)
        cut = [[_cut(x, 2, c) for x in queries], _cut(at, 1, c), _cut(short, 1, c), _cut(order, 0, c)]
        out = jnp.moveaxis(jax.lax.map(lambda part: jax.checkpoint(rows)(*part), tuple(cut)), 0, 2)  # b h chunks c e
        return out.reshape(*out.shape[:2], -1, out.shape[-1])[:, :, :n].swapaxes(1, 2)

    def reach(self, window: int | None) -> int | None:
        """Where the farthest relative position, floor(n/g) + w - floor(w/g), is still one of training."""
        window = window if self.original is None else self.original
        return None if window is None else max(window, self.group * (window - self.window + self.window // self.group))


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

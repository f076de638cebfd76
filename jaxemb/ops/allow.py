"""Who may look at whom in attention: one record with one meaning on every backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from jaxemb.config import ConfigError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Allow:
    """Query i may look at key j where all of these hold. Queries are the last n of the m tokens: query i stands at i + m - n.

        valid      valid[b, j]: the key is not padding
        segments   segments[b, i] = segments[b, j]: texts packed into one row do not see each other
        causal     j <= i
        window     |i - j| <= window, or i < prefix, or j < prefix

    The first `prefix` tokens are class and register tokens: they stand nowhere, so that no window ends before them. They see all
    and all see them, as the global tokens of Longformer (Beltagy et al. 2020); `causal` and `valid` hold for them too.

    Arrays are annotated `Any`: shaped fields break under the import hook when `vmap`, `scan` or `tree.map` rebuild the record.
    `causal`, `window` and `prefix` are static: as arrays they would be tracers in every transformed function.
    """

    valid: Any = None
    """Bool[b m]; None: no padding."""
    segments: Any = None
    """Int[b m]; None: a row is one text."""
    causal: bool = field(default=False, metadata={"static": True}, kw_only=True)
    window: int | None = field(default=None, metadata={"static": True}, kw_only=True)
    """The largest distance; 0: the token itself. Mistral's `sliding_window=w` is w - 1, ModernBERT's `local_attention=w` w // 2."""
    prefix: int = field(default=0, metadata={"static": True}, kw_only=True)
    """How many tokens at the front are seen, and see, beyond the window."""

    def mask(self, n: int, m: int, queries: Int[Array, " q"] | None = None) -> Bool[Array, "#b 1 #q m"] | None:
        """True where a query may look; None: everywhere. `queries`: the numbers of some of the n queries, instead of all."""
        parts = []
        if self.valid is not None:
            parts.append(self.valid[:, None, None, :])
        i = (jnp.arange(n) if queries is None else queries) + (m - n)
        if self.segments is not None:
            own = self.of_queries(self.segments, n, queries)
            parts.append((own[:, :, None] == self.segments[:, None, :])[:, None])
        near = self.near(i[:, None], jnp.arange(m)[None, :])
        if near is not None:
            parts.append(near[None, None])
        if not parts:
            return None
        found = parts[0]
        for part in parts[1:]:
            found = found & part
        return found

    def near(self, i: Any, j: Any) -> Any:
        """True where places alone let i look at j: by `causal`, `window` and `prefix`; None: everywhere. Of places in arrays of any
        library and of shapes that go together."""
        found = None
        if self.window is not None:
            found = abs(i - j) <= self.window
            if self.prefix:
                found = found | (i < self.prefix) | (j < self.prefix)
        if self.causal:
            found = (i >= j) if found is None else found & (i >= j)
        return found

    def of_queries(self, segments: Int[Array, "b m"], n: int, queries: Int[Array, " q"] | None = None) -> Int[Array, "b q"]:
        """The segments of the n queries, or of some of them, which are the last of the m tokens."""
        m = segments.shape[1]
        if n > m:
            raise ConfigError(f"segments say which of the {m} keys belong together, and {n} queries are more than those")
        return segments[:, m - n :] if queries is None else jnp.take(segments, queries + (m - n), axis=1, mode="clip")

    def within(self, window: int | None) -> Allow:
        """The same, and no further than `window`: what a layer with local attention adds."""
        if window is None:
            return self
        return dataclasses.replace(self, window=window if self.window is None else min(window, self.window))

    def after(self, prefix: int) -> Allow:
        """For the same tokens behind `prefix` class and register tokens, which are never padding."""
        if not prefix:
            return self
        if self.segments is not None:
            raise ConfigError("texts packed into one row (segments) cannot share class or register tokens: they would look across")
        valid = None if self.valid is None else jnp.pad(self.valid, ((0, 0), (prefix, 0)), constant_values=True)
        return dataclasses.replace(self, valid=valid, prefix=self.prefix + prefix)


def positions_within(segments: Int[Array, "b n"]) -> Int[Array, "b n"]:
    """0, 1, 2, ... anew in each segment of a row; tokens of a segment stand side by side."""
    place = jnp.arange(segments.shape[1], dtype=jnp.int32)[None]
    first = jnp.concatenate([jnp.ones_like(segments[:, :1], bool), segments[:, 1:] != segments[:, :-1]], axis=1)
    return place - jax.lax.cummax(jnp.where(first, place, 0), axis=1)


def predicted(batch: Mapping[str, Any]) -> Any:
    """Bool[b m], m = n - 1: which tokens but the first are predicted from those before them, in arrays of NumPy or JAX. Padding is
    not, nor is the first token of a text, which does not follow from the text before it in a packed row."""
    found = batch["tokens"][:, 1:] == batch["tokens"][:, 1:]
    if "mask" in batch:
        found = found & batch["mask"][:, 1:] & batch["mask"][:, :-1]  # padding may stand on the left
    if (segments := batch.get("segments")) is not None:
        found = found & (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    return found

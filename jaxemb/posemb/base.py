"""The family of positional embeddings: override what applies, nothing else."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.ops.allow import Allow
from jaxemb.ops.attention import attention
from jaxemb.types import Paper


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Places:
    """Where the tokens of a forward pass are, and what else a positional embedding may know of them. Class and register tokens are
    not among them. (Arrays are annotated `Any`, see `Allow`.)"""

    pos: Any
    """Num[#b n a]; the first axis is 1 where all examples have the same positions."""
    grid: tuple[int, ...] | None = field(default=None, metadata={"static": True}, kw_only=True)
    """Rows and columns of the whole input, or its length, where known."""
    picture: Any = field(default=None, kw_only=True)
    """The inputs as images (b H W c), where they are."""
    allow: Allow = field(default=Allow(), kw_only=True)
    """Which of the tokens are padding (`valid`), and who looks at whom."""
    rows: int = field(default=1, metadata={"static": True}, kw_only=True)
    """Examples of the batch (b)."""
    train: bool = field(default=False, metadata={"static": True}, kw_only=True)
    """Random shifts and losses of a member's own are wanted."""

    def at(self, pos: Num[Array, "_ n a"], **changes: Any) -> Places:
        """The same tokens at other positions."""
        return dataclasses.replace(self, pos=pos, **changes)


class Shared(NamedTuple):
    """What the layers of one forward pass share: it depends on positions alone and is computed once."""

    pos: Any
    """#b n a, class and register tokens included (at position 0)."""
    angles: Any = None
    """What `rotate` needs, as `angles` gave it."""
    bias: Any = None
    """#b #h n n, added to the attention logits."""


class PosEmb(nn.Module):
    """Says where tokens are. Positions are data, passed in with `Places`: never an `arange` of a member's own.

    Whatever depends on positions alone is computed for one example where all have the same. A member overrides the one or two hooks
    that its kind needs; the others leave their input alone. The encoder calls

        once        pos = locate(places)        what a position is: an index on a curve, a real number, a shifted one
        once        x = add(x, places)          absolute kinds, from here on with the located positions
        once        shared = prepare(places)    calls angles(places, e) and bias(places, places, h): rotary and relative kinds
        each layer  y = attend(q, k, v, shared, allow)   calls rotate(q, k, shared) and layer_bias(q, shared), then attention
        each layer  x = after_block(x, i, places)        convolutional kinds

    In `locate`, `add`, `prepare` and `after_block` a member's parameters are the encoder's, under `pos`; in `attend` and what it
    calls every layer has its own, under `attention/pos`. A loss of a member's own is sown: `self.sow("losses", name, value)`, and
    the train step adds it.
    """

    paper: ClassVar[Paper | None] = None

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        """What the other hooks take for positions."""
        return places.pos

    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        """Absolute kinds: add to the tokens, before the first layer."""
        return x

    def angles(self, places: Places, width: int) -> Any:
        """Rotary kinds: cosines and sines, for heads of this width."""
        return None

    def bias(self, q: Places, k: Places, heads: int) -> Float[Array, "#b #h n m"] | None:
        """Relative kinds: a term added to the attention logits of every layer."""
        return None

    def prepare(self, places: Places, *, heads: int, width: int, prefix: int = 0) -> Any:
        """What all layers share. `width` is that of a head; `prefix` class and register tokens come before the others: they
        are nowhere, so nothing turns them and no bias is added to their logits."""
        bias = self.bias(places, places, heads)
        if prefix:
            places = places.at(jnp.pad(places.pos, ((0, 0), (prefix, 0), (0, 0))), allow=places.allow.after(prefix))
            bias = None if bias is None else jnp.pad(bias, ((0, 0), (0, 0), (prefix, 0), (prefix, 0)))
        return Shared(places.pos, self.angles(places, width), bias)

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b m h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b m h e"]]:
        """Rotary kinds: turn queries and keys."""
        return q, k

    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b #h n m"] | None:
        """The bias of one layer: the shared one, but for kinds whose table is a layer's own or whose bias looks at queries."""
        return None if shared.bias is None else of_queries(shared.bias, q, axis=2)

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
        """One layer's attention; the queries are the last n of the m tokens that `shared` is of. `scale`, of the logits:
        1 / sqrt(e) where None."""
        q, k = self.rotate(q, k, shared)
        return attention(q, k, v, bias=self.layer_bias(q, shared), allow=allow, scale=scale, softcap=softcap)

    def after_block(self, x: Float[Array, "b n d"], layer: int, places: Places) -> Float[Array, "b n d"]:
        """Convolutional kinds: change the tokens after layer 0, 1, ... (without class and register tokens)."""
        return x

    def reach(self, window: int | None) -> int | None:
        """The longest input, in tokens, of a model that takes `window` without an extension; None: any."""
        return window


def overrides(posemb: PosEmb, hook: str) -> bool:
    """Whether a member, or what it wraps, has its own version of a hook."""
    while (inner := getattr(posemb, "of", None)) is not None:
        posemb = inner
    return getattr(type(posemb), hook) is not getattr(PosEmb, hook)


def of_queries(x: Array, q: Float[Array, "b n h e"], axis: int = 1) -> Array:
    """What is told of all m tokens along an axis, for the last n of them: the queries."""
    n, m = q.shape[1], x.shape[axis]
    if n > m:
        raise ConfigError(f"{n} queries are more than the {m} tokens whose positions are known")
    return x if n == m else jax.lax.slice_in_dim(x, m - n, m, axis=axis)


def extent(pos: Num[Array, "#b n a"], allow: Allow) -> Num[Array, "_ _ a"]:
    """How many positions along each axis the text or picture of each token has (#b #n a): last minus first plus one, padding left
    out. A distance, so that shifted positions are no longer, and of a token's own segment where texts are packed."""
    own = allow.valid if allow.valid is None else allow.valid[:, None]
    if allow.segments is not None:
        same = allow.segments[:, :, None] == allow.segments[:, None, :]
        own = same if own is None else own & same
    if own is None:
        return pos.max(1, keepdims=True) - pos.min(1, keepdims=True) + 1
    ends: Any = jnp.iinfo(pos.dtype) if jnp.issubdtype(pos.dtype, jnp.integer) else jnp.finfo(pos.dtype)
    own, every = own[..., None], pos[:, None]
    last, first = jnp.where(own, every, ends.min).max(2), jnp.where(own, every, ends.max).min(2)
    return jnp.where(own.any(2), last - first + 1, 1)


def own_length(places: Places) -> bool:
    """Whether texts have lengths of their own, shorter than the row: they are packed into it, or padded."""
    return places.allow.segments is not None or (places.allow.valid is not None and places.pos.shape[-1] == 1)


def refuse(allow: Allow, member: PosEmb, why: str) -> None:
    """Raises where texts are packed into one row, or tokens may not look ahead, and a scheme cannot do that."""
    for what, asked in (("texts packed into one row (segments)", allow.segments is not None), ("causal attention", allow.causal)):
        if asked:
            raise ConfigError(f"{type(member).__name__} cannot do {what}: {why}")

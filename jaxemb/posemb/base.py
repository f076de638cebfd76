"""The family of positional embeddings: override what applies, nothing else."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Num

from jaxemb.ops.attention import attention
from jaxemb.types import Paper


class Shared(NamedTuple):
    """What the layers of one forward pass share: it depends on positions alone and is computed once."""

    pos: Any
    """#b n a, class and register tokens included (at position 0)."""
    angles: Any = None
    """What `rotate` needs, as `angles` gave it."""
    bias: Any = None
    """#b #h n n, added to the attention logits."""


class PosEmb(nn.Module):
    """Says where tokens are. `pos` (#b n a) is data, passed in: never an `arange` of the encoder's own.

    Its first axis is 1 where all examples have the same positions, so that whatever depends on positions alone is computed for one
    example. A member overrides the one or two hooks that its kind needs; the others leave their input alone. The encoder calls

        once        pos = locate(pos)       what a position is: an index on a curve, a real number, a shifted one
        once        x = add(x, pos)         absolute kinds
        once        shared = prepare(pos)   calls angles(pos, e) and bias(pos, pos, h): rotary and relative kinds
        each layer  y = attend(q, k, v, shared)   calls rotate(q, k, shared) and layer_bias(q, shared), then attention
        each layer  x = after_block(x, i, pos)    convolutional kinds

    In `locate`, `add`, `prepare` and `after_block` a member's parameters are the encoder's, under `pos`; in `attend` and what it
    calls every layer has its own, under `posemb`. A loss of a member's own is sown: `self.sow("losses", name, value)`, and the
    train step adds it.
    """

    paper: ClassVar[Paper | None] = None

    def locate(
        self,
        pos: Num[Array, "_ n a"],
        *,
        grid: tuple[int, ...] | None = None,
        picture: Any = None,
        batch: int = 1,
        train: bool = False,
    ) -> Num[Array, "_ n c"]:
        """What the other hooks take for positions. `grid`: rows and columns of the whole input, or its length, where known;
        `picture`: the inputs as images (b H W c), where they are; `batch`: how many examples there are, for members that give
        each its own positions; `train`: random shifts are wanted."""
        return pos

    def add(
        self, x: Float[Array, "b n d"], pos: Num[Array, "#b n a"], *, grid: tuple[int, ...] | None = None
    ) -> Float[Array, "b n d"]:
        """Absolute kinds: add to the tokens, before the first layer."""
        return x

    def angles(self, pos: Num[Array, "#b n a"], width: int) -> Any:
        """Rotary kinds: cosines and sines, for heads of this width."""
        return None

    def bias(self, pos_q: Num[Array, "#b n a"], pos_k: Num[Array, "#b m a"], heads: int) -> Float[Array, "#b #h n m"] | None:
        """Relative kinds: a term added to the attention logits of every layer."""
        return None

    def prepare(
        self,
        pos: Num[Array, "#b n a"],
        *,
        heads: int,
        width: int,
        prefix: int = 0,
        grid: tuple[int, ...] | None = None,
        train: bool = False,
    ) -> Any:
        """What all layers share. `width` is that of a head; `prefix` class and register tokens come before the others: they
        are nowhere, so nothing turns them and no bias is added to their logits."""
        bias = self.bias(pos, pos, heads)
        if prefix:
            pos = jnp.pad(pos, ((0, 0), (prefix, 0), (0, 0)))
            bias = None if bias is None else jnp.pad(bias, ((0, 0), (0, 0), (prefix, 0), (prefix, 0)))
        return Shared(pos, self.angles(pos, width), bias)

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b n h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b n h e"]]:
        """Rotary kinds: turn queries and keys."""
        return q, k

    def layer_bias(self, q: Float[Array, "b n h e"], shared: Any) -> Float[Array, "#b #h n n"] | None:
        """The bias of one layer: the shared one, but for kinds whose table is a layer's own or whose bias looks at queries."""
        return shared.bias

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
        """One layer's attention."""
        q, k = self.rotate(q, k, shared)
        return attention(q, k, v, bias=self.layer_bias(q, shared), mask=mask, causal=causal)

    def after_block(
        self,
        x: Float[Array, "b n d"],
        layer: int,
        pos: Num[Array, "#b n a"],
        *,
        grid: tuple[int, ...] | None = None,
        mask: Bool[Array, "b n"] | None = None,
    ) -> Float[Array, "b n d"]:
        """Convolutional kinds: change the tokens after layer 0, 1, ... (without class and register tokens)."""
        return x


def overrides(posemb: PosEmb, hook: str) -> bool:
    """Whether a member, or what it wraps, has its own version of a hook."""
    while (inner := getattr(posemb, "of", None)) is not None:
        posemb = inner
    return getattr(type(posemb), hook) is not getattr(PosEmb, hook)


def unbound(posemb: PosEmb) -> PosEmb:
    """A copy that belongs to no module yet, nor does what it wraps."""
    inner = getattr(posemb, "of", None)
    more: dict[str, Any] = {} if inner is None else {"of": unbound(inner)}
    return posemb.clone(parent=None, name=None, **more)

"""The decoder of masked autoencoders: from the features of visible patches to numbers for each hidden one."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Int

from jaxemb.config import ConfigError
from jaxemb.layers.dense import INITS, Dense
from jaxemb.layers.norms import LayerNorm, Norm
from jaxemb.nn.attention import Attention
from jaxemb.nn.block import Block, Layers
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Features


class Branch(Layers):
    """Blocks, a final norm, and a linear layer on the tokens from `start` on. Parameters: block_i, norm, out (width, q)."""

    outputs: int = 1
    norm: Norm = field(default_factory=LayerNorm)
    kernel_init: str = "normal"

    @nn.compact
    def __call__(self, x: Array, places: Places, posemb: PosEmb, *, given: Places, prefix: int, start: int) -> Array:
        x, _ = self.run_blocks(x, places, posemb, given=given, allow=places.allow.after(prefix), prefix=prefix)
        return Dense(self.outputs, kernel_init=self.kernel_init, name="out")(self.norm(x[:, start:]))


class Decoder(Layers):
    """Linear(d -> width) of the visible tokens; mask tokens; + positions; then one or more branches on all of them.

    Tokens know where they are, so they keep the order [class token ; visible ; hidden] and nothing is shuffled back. A mask token
    is one shared learned vector plus its position.

    Parameters: embed, mask_token and, if wanted, class_row (1, 1, width), pos, and under the name of each branch block_i, norm, out
    (width, q).
    """

    width: int = 512
    depth: int = 8
    blocks: tuple[Block, ...] = field(default_factory=lambda: (Block(Attention(16)),))
    pos: PosEmb = field(default_factory=lambda: SinCos(axes=2))
    norm: Norm = field(default_factory=LayerNorm)
    kernel_init: str = "normal"
    """Of the first linear layer and of the branches' last ones."""
    class_row: bool = False
    """A learned vector that is added to the class token, the first of the tokens without a place: the row that a public decoder's
    table of positions has for it, zeros in those of MAE."""

    @nn.compact
    def __call__(
        self,
        seen: Features,
        visible: Int[Array, "#b k a"],
        hidden: Int[Array, "b n a"] | None,
        *,
        outputs: int,
        branches: tuple[str, ...],
        grid: tuple[int, ...] | None = None,
        train: bool = False,
    ) -> tuple[Array, ...]:
        """What each branch says (b n q) of the `hidden` places, or where that is None of the visible ones; q is `outputs`."""
        tokens = seen.tokens if seen.prefix is None else jnp.concatenate([seen.prefix, seen.tokens], axis=1)
        b, prefix = len(tokens), tokens.shape[1] - seen.tokens.shape[1]
        x = Dense(self.width, kernel_init=self.kernel_init, name="embed")(tokens)
        token = self.param("mask_token", INITS["normal"], (1, 1, self.width), jnp.float32)
        first, x, where, start = x[:, :prefix], x[:, prefix:], visible, prefix
        if self.class_row:
            if not prefix:
                raise ConfigError("Decoder(class_row=True) adds a vector to the class token, and the encoder has none")
            row = self.param("class_row", nn.initializers.zeros, (1, 1, self.width), jnp.float32).astype(x.dtype)
            first = jnp.concatenate([first[:, :1] + row, first[:, 1:]], axis=1)
        if hidden is not None:
            start = prefix + x.shape[1]
            x = jnp.concatenate([x, jnp.broadcast_to(token.astype(x.dtype), (b, hidden.shape[1], self.width))], axis=1)
            where = jnp.concatenate([jnp.broadcast_to(visible, (b, *visible.shape[1:])), hidden], axis=1)
        given = Places(where, grid=grid, allow=Allow(), rows=b, train=train)
        places = given.at(self.pos.locate(given))
        x = jnp.concatenate([first, self.pos.add(x, places)], axis=1)
        told: dict[str, Any] = {"given": given, "prefix": prefix, "start": start}
        return tuple(self._branch(name, outputs)(x, places, self.pos, **told) for name in branches)

    def _branch(self, name: str, outputs: int) -> Branch:
        names = ("width", "depth", "scan", "remat", "kernel_init")
        same: dict[str, Any] = {field: getattr(self, field) for field in names}
        # Copies for each: linen would share one object, and its parameters, between the branches.
        parts = {"blocks": tuple(b.copy(parent=None) for b in self.blocks), "norm": self.norm.copy(parent=None)}
        return Branch(name=name, outputs=outputs, **parts, **same)

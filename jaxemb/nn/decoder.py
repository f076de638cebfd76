"""The decoder of masked autoencoders: from the features of visible patches to numbers for each hidden one."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Int

from jaxemb.config import ConfigError
from jaxemb.nn.block import Layers
from jaxemb.nn.dense import INITS, Dense, LayerNorm
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Features


class Branch(Layers):
    """Blocks, a final norm, and a linear layer on the tokens from `start` on. Parameters: block_i, norm, out (width, q)."""

    outputs: int = 1

    @nn.compact
    def __call__(self, x: Array, where: Array, posemb: PosEmb, *, prefix: int, start: int, grid: Any, train: bool) -> Array:
        kind: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x, _ = self.run_blocks(x, pos=where, posemb=posemb, prefix=prefix, grid=grid, train=train)
        x = LayerNorm(self.eps, name="norm", **kind)(x[:, start:])
        return Dense(self.outputs, kernel_init=self.kernel_init, name="out", **kind)(x)


class Decoder(nn.Module):
    """Linear(d -> width) of the visible tokens; mask tokens; + positions; then one or more branches on all of them.

    Tokens know where they are, so they keep the order [class token ; visible ; hidden] and nothing is shuffled back. A mask token
    is one shared learned vector plus its position. Everything that is not a field here is as in the encoder.

    Parameters: embed, mask_token (1, 1, width), pos, and under the name of each branch block_i, norm, out (width, q).
    """

    width: int = 512
    depth: int = 8
    heads: int = 16
    pos: PosEmb = field(default_factory=lambda: SinCos(axes=2))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(f"decoder.width {self.width} is not divisible by decoder.heads {self.heads}")

    @nn.compact
    def __call__(
        self,
        seen: Features,
        visible: Int[Array, "#b k a"],
        hidden: Int[Array, "b n a"] | None,
        *,
        like: Layers,
        outputs: int,
        branches: tuple[str, ...],
        grid: tuple[int, ...] | None = None,
        train: bool = False,
    ) -> tuple[Array, ...]:
        """What each branch says (b n q) of the `hidden` places, or where that is None of the visible ones. `like` is the encoder,
        for its settings; q is `outputs`."""
        kind: dict[str, Any] = {"dtype": like.dtype, "param_dtype": like.param_dtype}
        tokens = seen.tokens if seen.prefix is None else jnp.concatenate([seen.prefix, seen.tokens], axis=1)
        b, prefix = len(tokens), tokens.shape[1] - seen.tokens.shape[1]
        x = Dense(self.width, kernel_init=like.kernel_init, name="embed", **kind)(tokens)
        token = self.param("mask_token", INITS["trunc_normal"], (1, 1, self.width), jnp.dtype(like.param_dtype))
        first, x, where, start = x[:, :prefix], x[:, prefix:], visible, prefix
        if hidden is not None:
            start = prefix + x.shape[1]
            x = jnp.concatenate([x, jnp.broadcast_to(token.astype(x.dtype), (b, hidden.shape[1], self.width))], axis=1)
            where = jnp.concatenate([jnp.broadcast_to(visible, (b, *visible.shape[1:])), hidden], axis=1)
        where = self.pos.locate(where, grid=grid, batch=b)
        x = jnp.concatenate([first, self.pos.add(x, where, grid=grid)], axis=1)
        same = ("mlp_ratio", "qk_norm", "activation", "kernel_init", "eps", "scan", "remat", "dtype", "param_dtype")
        settings = {name: getattr(like, name) for name in same}
        settings |= {"width": self.width, "depth": self.depth, "heads": self.heads, "outputs": outputs}
        flow: dict[str, Any] = {"prefix": prefix, "start": start, "grid": grid, "train": train}
        return tuple(Branch(name=name, **settings)(x, where, self.pos, **flow) for name in branches)

"""The predictor of I-JEPA: from the features of visible patches to those of hidden ones."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int, Num

from jaxemb.config import ConfigError
from jaxemb.nn.block import Layers
from jaxemb.nn.dense import INITS, Dense, LayerNorm
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.sincos import SinCos


class Stack(Layers):
    """Blocks and a final norm, on tokens that know where they are."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], pos: Num[Array, "b n a"], posemb: PosEmb, mask: Bool[Array, "b n"] | None, train: bool
    ) -> Float[Array, "b n d"]:
        x, _ = self.run_blocks(x, pos=pos, posemb=posemb, mask=mask, train=train)
        return LayerNorm(self.eps, dtype=self.dtype, param_dtype=self.param_dtype, name="norm")(x)


class Predictor(nn.Module):
    """Linear(d -> width); + positions; [context ; mask tokens] through the blocks; Linear(width -> d) at the mask tokens.

    A mask token is one shared learned vector plus the position of the patch it stands for. Everything that is not a field here
    is as in the encoder. Parameters: embed, mask_token (1, 1, width), pos, layers, out.
    """

    width: int = 384
    depth: int = 12
    heads: int | None = None
    """None: as many as the encoder, whatever the width (as released)."""
    pos: PosEmb = field(default_factory=lambda: SinCos(axes=2))

    @nn.compact
    def __call__(
        self,
        context: Float[Array, "s k d"],
        context_pos: Int[Array, "s k a"],
        target_pos: Int[Array, "s n a"],
        *,
        like: Layers,
        grid: tuple[int, ...] | None = None,
        context_mask: Bool[Array, "s k"] | None = None,
        target_mask: Bool[Array, "s n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "s n d"]:
        """Predictions at `target_pos`; `like` is the encoder, for its settings; `grid` that of the whole image. One row is one
        sequence: tokens see each other."""
        heads = like.heads if self.heads is None else self.heads
        if self.width % heads:
            raise ConfigError(
                f"predictor.width {self.width} is not divisible by {heads} heads (predictor.heads=None: the encoder's)"
            )
        kind: dict[str, Any] = {"dtype": like.dtype, "param_dtype": like.param_dtype}
        k, n = context.shape[1], target_pos.shape[1]
        token = self.param("mask_token", INITS["trunc_normal"], (1, 1, self.width), jnp.dtype(like.param_dtype))
        x = Dense(self.width, kernel_init=like.kernel_init, name="embed", **kind)(context)
        x = jnp.concatenate([x, jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], n, self.width))], axis=1)
        where = self.pos.locate(jnp.concatenate([context_pos, target_pos], axis=1), grid=grid, batch=len(x))
        x = self.pos.add(x, where, grid=grid)
        mask = None
        if context_mask is not None or target_mask is not None:
            seen = jnp.ones(x.shape[:1] + (k,), bool) if context_mask is None else context_mask
            asked = jnp.ones(x.shape[:1] + (n,), bool) if target_mask is None else target_mask
            mask = jnp.concatenate([seen, asked], axis=1)
        same = ("mlp_ratio", "qk_norm", "activation", "kernel_init", "eps", "scan", "remat", "dtype", "param_dtype")
        settings = {name: getattr(like, name) for name in same}
        layers = Stack(width=self.width, depth=self.depth, heads=heads, name="layers", **settings)
        x = layers(x, where, self.pos, mask, train)
        return Dense(context.shape[-1], kernel_init=like.kernel_init, name="out", **kind)(x[:, k:])

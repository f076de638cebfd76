"""The predictor of I-JEPA: from the features of visible patches to those of hidden ones."""

from __future__ import annotations

from dataclasses import field

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.layers.dense import INITS, Dense
from jaxemb.layers.norms import LayerNorm, Norm
from jaxemb.nn.block import Layers
from jaxemb.ops.allow import Allow
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.posemb.sincos import SinCos


class Predictor(Layers):
    """Linear(d -> width); + positions; [context ; mask tokens] through the blocks; norm; Linear(width -> d) at the mask tokens.

    A mask token is one shared learned vector plus the position of the patch it stands for.
    Parameters: embed, mask_token (1, 1, width), pos, block_i (or blocks/block_j, with scan), norm, out.
    """

    width: int = 384
    depth: int = 12
    pos: PosEmb = field(default_factory=lambda: SinCos(axes=2))
    norm: Norm = field(default_factory=LayerNorm)
    kernel_init: str = "normal"
    """Of the first and the last linear layer."""

    @nn.compact
    def __call__(
        self,
        context: Float[Array, "s k d"],
        context_pos: Int[Array, "s k a"],
        target_pos: Int[Array, "s n a"],
        *,
        grid: tuple[int, ...] | None = None,
        context_mask: Bool[Array, "s k"] | None = None,
        target_mask: Bool[Array, "s n"] | None = None,
        train: bool = False,
    ) -> Float[Array, "s n d"]:
        """Predictions at `target_pos`; `grid` is that of the whole image. One row is one sequence: tokens see each other."""
        (s, k, d), n = context.shape, target_pos.shape[1]
        token = self.param("mask_token", INITS["normal"], (1, 1, self.width), jnp.float32)
        x = Dense(self.width, kernel_init=self.kernel_init, name="embed")(context)
        x = jnp.concatenate([x, jnp.broadcast_to(token.astype(x.dtype), (s, n, self.width))], axis=1)
        valid = None
        if context_mask is not None or target_mask is not None:
            seen = jnp.ones((s, k), bool) if context_mask is None else context_mask
            asked = jnp.ones((s, n), bool) if target_mask is None else target_mask
            valid = jnp.concatenate([seen, asked], axis=1)
        allow = Allow(valid)
        given = Places(jnp.concatenate([context_pos, target_pos], axis=1), grid=grid, allow=allow, rows=s, train=train)
        places = given.at(self.pos.locate(given))
        x, _ = self.run_blocks(self.pos.add(x, places), places, self.pos, given=given, allow=allow)
        return Dense(d, kernel_init=self.kernel_init, name="out")(self.norm(x)[:, k:])

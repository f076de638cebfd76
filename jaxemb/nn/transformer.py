"""The pre-norm transformer encoder: one class for images and token ids, with any stem and any positional embedding."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxemb.nn.block import Layers
from jaxemb.nn.dense import INITS, LayerNorm
from jaxemb.nn.stem import Patches, Stem
from jaxemb.posemb.base import PosEmb
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Features


class Transformer(Layers):
    """stem -> + positions -> depth x block -> LayerNorm (Dosovitskiy et al. 2021 for images, with `Patches`).

    Parameters: stem, pos, class_token and registers (1, p, d), block_i (or blocks, with scan), norm.
    """

    stem: Stem = field(default_factory=lambda: Patches(8))
    pos: PosEmb = field(default_factory=lambda: SinCos(axes=2))
    class_token: bool = False
    registers: int = 0
    """Extra learned tokens that carry no output of their own (Darcet et al. 2024)."""

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        keep: Int[Array, "b k"] | None = None,
        mask: Bool[Array, "b n"] | None = None,
        layers: tuple[int, ...] = (),
        train: bool = False,
    ) -> Features:
        """`inputs`: images b H W c or ids b n. `keep`: the tokens to compute at all. `mask`: which of those are not padding.
        `layers`: whose outputs to return besides the last one's (0 is the first, -1 the last; before the final norm)."""
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        grid = self.stem.grid(inputs.shape[1:])
        x, pos = self.stem(inputs, width=self.width, keep=keep, kernel_init=self.kernel_init, **dtypes)
        pos = self.pos.locate(pos, grid=grid, picture=self.stem.picture(inputs), batch=len(x), train=train)
        x = self.pos.add(x, pos, grid=grid)
        b, n, _ = x.shape
        valid = jnp.ones((b, n), bool) if mask is None else mask
        extra = self.class_token + self.registers
        if extra:
            x = jnp.concatenate([self._prefix(x), x], axis=1)
            mask = None if mask is None else jnp.pad(mask, ((0, 0), (extra, 0)), constant_values=True)
        x, outputs = self.run_blocks(x, pos=pos, posemb=self.pos, mask=mask, layers=layers, prefix=extra, grid=grid, train=train)
        x = LayerNorm(self.eps, name="norm", **dtypes)(x)
        return Features(x[:, extra:], valid, tuple(y[:, extra:] for y in outputs), x[:, :extra] if extra else None)

    def _prefix(self, x: Float[Array, "b n d"]) -> Float[Array, "b p d"]:
        """The class token, then the registers."""
        shapes = {"class_token": int(self.class_token), "registers": self.registers}
        tokens = [
            self.param(name, INITS["trunc_normal"], (1, count, self.width), jnp.dtype(self.param_dtype)).astype(x.dtype)
            for name, count in shapes.items()
            if count
        ]
        tokens = jnp.concatenate(tokens, axis=1)
        return jnp.broadcast_to(tokens, (x.shape[0], *tokens.shape[1:]))

"""The pre-norm transformer encoder: one class for images and token ids, with any stem and any positional embedding."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Int, Num

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
        x, where = self.stem(inputs, width=self.width, keep=keep, kernel_init=self.kernel_init, **dtypes)
        x = self.pos.add(x, where)
        b, n, _ = x.shape
        valid = jnp.ones((b, n), bool) if mask is None else mask
        extra = self.class_token + self.registers
        x, where, mask = self._with_prefix(x, where, mask, extra)
        x, outputs = self.run_blocks(x, pos=where, posemb=self.pos, mask=mask, layers=layers, train=train)
        x = LayerNorm(self.eps, name="norm", **dtypes)(x)
        return Features(x[:, extra:], valid, tuple(y[:, extra:] for y in outputs), x[:, :extra] if extra else None)

    def _with_prefix(
        self, x: Array, where: Num[Array, "b n a"], mask: Array | None, extra: int
    ) -> tuple[Array, Num[Array, "b m a"], Array | None]:
        """Class and register tokens in front, at position 0: rotations leave them as they are."""
        if not extra:
            return x, where, mask
        names = ["class_token"] * self.class_token + ["registers"] * bool(self.registers)
        counts = [1] * self.class_token + [self.registers] * bool(self.registers)
        for name, count in reversed(list(zip(names, counts, strict=True))):
            token = self.param(name, INITS["trunc_normal"], (1, count, self.width), jnp.dtype(self.param_dtype))
            x = jnp.concatenate([jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], count, self.width)), x], axis=1)
        where = jnp.pad(where, ((0, 0), (extra, 0), (0, 0)))
        return x, where, None if mask is None else jnp.pad(mask, ((0, 0), (extra, 0)), constant_values=True)

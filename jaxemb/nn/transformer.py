"""The transformer encoder: one class for images and token ids, with any stem, positional embedding and blocks."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int, Num

from jaxemb.config import ConfigError, choices
from jaxemb.layers.dense import INITS, Dense
from jaxemb.layers.norms import LayerNorm, Norm
from jaxemb.nn.base import Encoder, Stem
from jaxemb.nn.block import Layers
from jaxemb.nn.lora import LoRA
from jaxemb.nn.stem import Patches
from jaxemb.ops.allow import Allow, positions_within
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.posemb.sincos import SinCos
from jaxemb.types import Features

DTYPES = ("float32", "bfloat16", "float16", "float64")


class Transformer(Layers, Encoder):
    """stem -> + positions -> depth x block -> norm: of images with `Patches` (Dosovitskiy et al. 2021), of ids with `Tokens`.

    Parameters: stem, pos, class_token and registers (1, p, d), stem_norm, stem_proj (kernel, bias), block_i (or blocks/block_j,
    with scan), norm. Where "intermediates" may change, `first` is left there, what the first block gets, and as `states` the
    outputs of the layers that were asked for, with the class and register tokens in front.
    """

    stem: Stem = field(default_factory=lambda: Patches(8))
    pos: PosEmb = field(default_factory=lambda: SinCos(axes=2))
    norm: Norm | None = field(default_factory=LayerNorm)
    """Of the output; None where the blocks' own comes last (order="post")."""
    stem_norm: Norm | None = None
    """Of the first vectors, positions and extra tokens included, as in BERT."""
    stem_width: int | None = None
    """Features of stem and positions, where they are not the width: a linear layer comes after them, as in ELECTRA."""
    class_token: bool = False
    registers: int = 0
    """Extra learned tokens that carry no output of their own (Darcet et al. 2024). Like the class token they see all tokens, and
    all see them, whatever the `window` of a block; with `causal` they see themselves and those before them."""
    causal: bool = False
    """A token sees itself and those before it in the sequence."""
    lora: LoRA | None = None
    """Adapters beside some of the matrices, to be trained in their place; None: none."""
    dtype: str = "float32"
    """Of the computation: the stem's output has it, and every part computes in the dtype of its input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, dtype=DTYPES)
        if self.registers < 0:
            raise ConfigError(f"Transformer.registers must not be negative, is {self.registers}")
        if self.stem_width is not None and self.stem_width < 1:
            raise ConfigError(f"Transformer.stem_width must be at least 1, is {self.stem_width}")
        self._refuse_blind(Allow(causal=self.causal))

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        pos: Num[Array, "#b n a"] | None = None,
        types: Int[Array, "b n"] | None = None,
        keep: Int[Array, "b k"] | None = None,
        allow: Allow = Allow(),
        layers: tuple[int, ...] = (),
        train: bool = False,
    ) -> Features:
        """`inputs`: images b H W c or ids b n. `pos`: where the tokens are, if not where the stem says; `types`: of token ids.
        `keep`: the tokens to compute at all; `allow`: which of those are padding, and who looks at whom. `layers`: whose outputs to
        return besides the last one's (0 is the first, -1 the last, -depth - 1 what enters the first; before the final norm)."""
        if self.causal and not allow.causal:
            allow = dataclasses.replace(allow, causal=True)
        self._refuse_blind(allow)
        with contextlib.nullcontext() if self.lora is None else self.lora.beside(self, train):
            return self._run(inputs, pos, types, keep, allow, layers, train)

    def _run(self, inputs: Array, pos: Any, types: Any, keep: Any, allow: Allow, layers: tuple[int, ...], train: bool) -> Features:
        x, given, places = self._begin(inputs, pos, types, keep, allow, train)
        extra = self.class_token + self.registers
        b, n = x.shape[0], x.shape[1] - extra
        valid = jnp.ones((b, n), bool) if allow.valid is None else allow.valid
        if self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "first", x)
        asked = {"given": given, "allow": allow.after(extra), "layers": layers, "prefix": extra}
        x, outputs = self.run_blocks(x, places, self.pos, **asked)
        if layers and self.is_mutable_collection("intermediates"):
            self.sow("intermediates", "states", outputs)
        x = x if self.norm is None else self.norm(x)
        ids = inputs if jnp.issubdtype(inputs.dtype, jnp.integer) and inputs.ndim == 2 else None
        if ids is not None and keep is not None:
            ids = jnp.take_along_axis(ids, keep, axis=1)
        return Features(x[:, extra:], valid, tuple(y[:, extra:] for y in outputs), x[:, :extra] if extra else None, ids)

    @nn.compact
    def first(
        self,
        inputs: Array,
        *,
        pos: Num[Array, "#b n a"] | None = None,
        types: Int[Array, "b n"] | None = None,
        allow: Allow = Allow(),
        train: bool = False,
    ) -> Float[Array, "b m d"]:
        """What the first block gets of these inputs: stem, positions and `stem_norm`, extra tokens in front."""
        return self._begin(inputs, pos, types, None, allow, train)[0]

    def _begin(
        self, inputs: Array, pos: Any, types: Any, keep: Any, allow: Allow, train: bool
    ) -> tuple[Float[Array, "b m d"], Places, Places]:
        """(what the first block gets, where the tokens are, as they are given and as the positional embedding takes them)."""
        x = self.stem(inputs, width=self.stem_width or self.width, keep=keep, types=types, dtype=self.dtype)
        known = {"picture": self.stem.picture(inputs), "allow": allow, "rows": len(x), "train": train}
        given = Places(self._positions(inputs, pos, keep, allow), grid=self._grid(inputs, allow), **known)
        places = given.at(self.pos.locate(given))
        x = self.pos.add(x, places)
        if self.class_token + self.registers:
            x = jnp.concatenate([self._prefix(x), x], axis=1)
        x = x if self.stem_norm is None else self.stem_norm(x)
        if self.stem_width is not None:
            x = Dense(self.width, name="stem_proj")(x)
        return x, given, places

    def _refuse_blind(self, allow: Allow) -> None:
        if allow.causal and self.class_token:
            raise ConfigError(
                "Transformer(class_token=True) with causal=True, its own or of the `allow` it is given: the class token comes "
                "first and sees itself alone, so that all inputs get one embedding; set class_token=False and pool the last "
                "token, Token(last=True)"
            )

    def _positions(self, inputs: Array, pos: Array | None, keep: Array | None, allow: Allow) -> Num[Array, "#b n a"]:
        """Of the tokens that are computed. Texts packed into one row count each from 0."""
        if pos is None and allow.segments is not None:
            if keep is not None:
                raise ConfigError("packed rows (segments) of which a part is kept need their positions: pass pos")
            return positions_within(allow.segments)[:, :, None]
        if pos is None:
            return self.stem.positions(inputs, keep)
        return (
            pos
            if keep is None
            else jnp.take_along_axis(jnp.broadcast_to(pos, (len(keep), *pos.shape[1:])), keep[:, :, None], axis=1)
        )

    def _grid(self, inputs: Array, allow: Allow) -> tuple[int, ...] | None:
        # A row of several texts is longer than any of them: no grid is known that positions count in.
        return None if allow.segments is not None else self.stem.grid(inputs.shape[1:])

    def _prefix(self, x: Float[Array, "b n d"]) -> Float[Array, "b p d"]:
        """The class token, then the registers."""
        shapes = {"class_token": int(self.class_token), "registers": self.registers}
        tokens = [
            self.param(name, INITS["normal"], (1, count, x.shape[-1]), jnp.float32).astype(x.dtype)
            for name, count in shapes.items()
            if count
        ]
        tokens = jnp.concatenate(tokens, axis=1)
        return jnp.broadcast_to(tokens, (x.shape[0], *tokens.shape[1:]))

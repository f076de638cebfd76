"""Rotary embedding in two dimensions with learned directions."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.posemb.base import PosEmb, of_queries
from jaxemb.posemb.rotary import frequencies, turn
from jaxemb.types import Paper


class MixedRotary(PosEmb):
    """Turns pair j of a head by p . f_j: each pair has a learned frequency vector, so that diagonals have waves of their own.

    RoPE-Mixed of RoPE-ViT. Parameters, in every layer: `frequencies` (a, h, e/2). They start as magnitudes base^(-4j/e), half of
    them along a direction drawn at random for each head, half across it. (Directions and start are from memory of the released
    code: unverified.)
    """

    paper: ClassVar[Paper | None] = Paper("Rotary Position Embedding for Vision Transformer", 2024, "arxiv.org/abs/2403.13298")

    axes: int = 2
    """Numbers in a position; only 2 makes directions to mix."""
    base: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axes != 2 or self.base <= 0:
            raise ConfigError(f"MixedRotary needs axes=2 and base > 0, not {self.axes} and {self.base}")

    @nn.compact
    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b m h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b m h e"]]:
        heads, width = q.shape[-2:]
        pos = shared.pos
        if pos.shape[-1] != self.axes:
            raise ConfigError(f"MixedRotary(axes={self.axes}) was given positions of {pos.shape[-1]} numbers")
        if width % 4:
            raise ConfigError(f"MixedRotary needs a head width that is a multiple of 4, not {width}")
        f = self.param("frequencies", self._start, (self.axes, heads, width // 2))
        pos = pos.astype(f.dtype)
        angle = jnp.einsum("bna,ahr->bnhr", pos, f)
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        return turn(q, of_queries(cosine, q), of_queries(sine, q)), turn(k, cosine, sine)

    def _start(self, key: Array, shape: tuple[int, ...]) -> Float[Array, "a h r"]:
        size = frequencies(shape[-1], self.base, jnp.float32)[None]  # r/2 magnitudes
        along = jax.random.uniform(key, (shape[1], 1), jnp.float32) * 2 * jnp.pi
        across = along + jnp.pi / 2
        rows = jnp.concatenate([size * jnp.cos(along), size * jnp.cos(across)], axis=-1)
        columns = jnp.concatenate([size * jnp.sin(along), size * jnp.sin(across)], axis=-1)
        return jnp.stack([rows, columns])

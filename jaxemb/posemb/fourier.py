"""Learned Fourier features of the position."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.layers.dense import Dense
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.types import Paper


class LearnableFourier(PosEmb):
    """Adds an MLP of trained waves of the position: all axes go into each wave, so that distance is Euclidean at the start.

        r = [cos(W_r p) | sin(W_r p)] / sqrt(F)      x <- x + W_2 gelu(W_1 r + b_1) + b_2      W_r ~ N(0, 1 / gamma^2)

    Positions count patches and may be any real numbers. Parameters: `waves` (F/2, a), `up` (F, hidden), `down` (hidden, d).
    (The paper has groups of axes and a last projection after the MLP; one group and the MLP to d here, as LOOPE compares it.
    The default sizes are choices.)
    """

    paper: ClassVar[Paper | None] = Paper(
        "Learnable Fourier Features for Multi-Dimensional Spatial Positional Encoding", 2021, "arxiv.org/abs/2106.02795"
    )

    features: int = 128
    """Cosines and sines (F)."""
    hidden: int = 64
    """Features of the MLP's middle layer."""
    gamma: float = 10.0
    """Width in patches of the similarity at the start: r(p) . r(q) is about exp(-|p - q|^2 / (2 gamma^2)) / 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features < 2 or self.features % 2:
            raise ConfigError(f"LearnableFourier.features={self.features} must be even and at least 2")
        if self.hidden < 1 or self.gamma <= 0:
            raise ConfigError(f"LearnableFourier needs hidden >= 1 and gamma > 0, not {self.hidden} and {self.gamma}")

    @nn.compact
    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        normal = nn.initializers.normal(1 / self.gamma)
        waves = self.param("waves", normal, (self.features // 2, places.pos.shape[-1]), jnp.float32)
        r = fourier(places.pos, waves)
        r = nn.gelu(Dense(self.hidden, kernel_init="lecun", name="up")(r), approximate=False)
        return x + Dense(x.shape[-1], kernel_init="lecun", name="down")(r).astype(x.dtype)


def fourier(pos: Num[Array, "*n a"], waves: Float[Array, "k a"]) -> Float[Array, "*n f"]:
    """[cos | sin] of the waves at these positions, of length 1/sqrt(2) whatever the position."""
    angle = pos.astype(waves.dtype) @ waves.T
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1) * (2 * waves.shape[0]) ** -0.5

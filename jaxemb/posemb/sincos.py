"""Fixed sine-cosine embeddings, in one or more dimensions."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.types import Paper


class SinCos(PosEmb):
    """Adds fixed waves of the position; with two axes as in MAE and I-JEPA.

    An axis gets d / axes features: [sin(p w_0), ..., cos(p w_0), ...] with w_k = base^(-k / K), K = d / (2 axes). The *last*
    axis comes first: for pos = (row, column) the first d/2 features encode the column, as in the reference code.
    Positions may be any real numbers. No parameters.
    """

    paper: ClassVar[Paper | None] = Paper("Attention Is All You Need", 2017, "arxiv.org/abs/1706.03762")

    axes: int = 2
    """Numbers in a position: 1 for sequences, 2 for images."""
    base: float = 10_000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axes < 1 or self.base <= 0:
            raise ConfigError(f"SinCos needs axes >= 1 and base > 0, not {self.axes} and {self.base}")

    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        if places.pos.shape[-1] != self.axes:
            raise ConfigError(f"SinCos(axes={self.axes}) was given positions of {places.pos.shape[-1]} numbers")
        return x + sincos(places.pos, x.shape[-1], self.base).astype(x.dtype)


def sincos(pos: Num[Array, "*n a"], width: int, base: float = 10_000.0) -> Float[Array, "*n d"]:
    """The table rows of these positions, in float32 (float64 where positions are)."""
    axes = pos.shape[-1]
    if width % (2 * axes):
        raise ConfigError(f"width {width} cannot be shared by {axes} axes of sines and cosines: make it a multiple of {2 * axes}")
    waves = width // (2 * axes)
    dtype = pos.dtype if jnp.issubdtype(pos.dtype, jnp.floating) else jnp.result_type(float)
    w = base ** (-jnp.arange(waves, dtype=dtype) / waves)
    angles = pos.astype(dtype)[..., None] * w.reshape((1,) * pos.ndim + (-1,))
    each = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)  # ... a d/a
    return each[..., ::-1, :].reshape(*pos.shape[:-1], width)

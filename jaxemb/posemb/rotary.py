"""Rotary position embedding: along a sequence, and axial for images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError, choices
from jaxemb.posemb.base import Places, PosEmb, extent, of_queries
from jaxemb.types import Paper

Spectrum = Callable[[Array, int, int, Array], tuple[Array, float]]
"""(frequencies 1 1 k, axis, features of an axis, length #b #n) -> (frequencies #b #n k, factor on cosines and sines): what
rescalers do."""
LAYOUTS = ("half", "interleaved")


class Rotary(PosEmb):
    """Turns pairs of query and key features by angles p theta_j, so that logits depend on distances alone.

        theta_j = base^(-2j / e), j < e/2      (x_j, x_j+e/2) <- (x_j cos - x_j+e/2 sin, x_j+e/2 cos + x_j sin)

    With several axes the pairs are shared out, e/(2 axes) to each (axial RoPE for images: first the rows', then the columns').
    Angles are computed in float32 from `pos`, which may be any real numbers. No parameters.
    """

    paper: ClassVar[Paper | None] = Paper(
        "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, "arxiv.org/abs/2104.09864"
    )

    axes: int = 1
    """Numbers in a position: 1 for sequences, 2 for images."""
    base: float = 10_000.0
    """Longest wave over 2 pi. For images of few patches 100 is usual (RoPE-ViT)."""
    share: float = 1.0
    """Part of the head that is turned, from its first feature on (partial rotary)."""
    layout: str = "half"
    """Which features are a pair: "half" (j, j + e/2), as LLaMA; "interleaved" (2j, 2j + 1), as GPT-J. `half_from_interleaved`
    says how to reorder features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, layout=LAYOUTS)
        if self.axes < 1 or self.base <= 0 or not 0 < self.share <= 1:
            raise ConfigError(f"Rotary needs axes >= 1, base > 0 and share in (0, 1], not {self.axes}, {self.base}, {self.share}")

    def angles(self, places: Places, width: int, spectrum: Spectrum | None = None) -> tuple[Array, Array]:
        """Cosines and sines, #b n 1 r/2 for r rotated features."""
        pos = places.pos
        if pos.shape[-1] != self.axes:
            raise ConfigError(f"Rotary(axes={self.axes}) was given positions of {pos.shape[-1]} numbers")
        part = self.turned(width) // self.axes
        pos = pos.astype(jnp.result_type(float)) if jnp.issubdtype(pos.dtype, jnp.integer) else pos
        length = None if spectrum is None else extent(pos, places.allow)
        every = []
        for axis in range(self.axes):
            theta, factor = frequencies(part, self.base, pos.dtype)[None, None], 1.0
            if spectrum is not None and length is not None:
                theta, factor = spectrum(theta, axis, part, length[..., axis])
            angle = pos[:, :, axis, None] * theta
            every.append((jnp.cos(angle) * factor, jnp.sin(angle) * factor))
        cosines, sines = (jnp.concatenate(parts, axis=-1)[:, :, None, :] for parts in zip(*every, strict=True))
        return cosines, sines

    def turned(self, width: int) -> int:
        """How many features of a head of this width are turned."""
        count = int(width * self.share)
        if count % (2 * self.axes) or not count:
            what = f"{count} rotated features (share={self.share} of a head of {width})"
            raise ConfigError(
                f"Rotary(axes={self.axes}): {what} are not pairs for each axis: make it a multiple of {2 * self.axes}"
            )
        return count

    def rotate(
        self, q: Float[Array, "b n h e"], k: Float[Array, "b m h e"], shared: Any
    ) -> tuple[Float[Array, "b n h e"], Float[Array, "b m h e"]]:
        cosine, sine = shared.angles
        return turn(q, of_queries(cosine, q), of_queries(sine, q), self.layout), turn(k, cosine, sine, self.layout)


def frequencies(width: int, base: float, dtype: Any) -> Float[Array, " k"]:
    """theta_j of `width` features: base^(-2j / width)."""
    return base ** (-jnp.arange(0, width, 2, dtype=dtype) / width)


def turn(
    x: Float[Array, "b n h e"], cosine: Float[Array, "#b n #h r"], sine: Float[Array, "#b n #h r"], layout: str = "half"
) -> Float[Array, "b n h e"]:
    """Turns the first 2r features of x; the rest stays."""
    r = cosine.shape[-1]
    part, rest = x[..., : 2 * r].astype(cosine.dtype), x[..., 2 * r :]
    if layout == "interleaved":
        a, b = part[..., 0::2], part[..., 1::2]
        turned = jnp.stack([a * cosine - b * sine, b * cosine + a * sine], axis=-1).reshape(part.shape)
    else:
        a, b = part[..., :r], part[..., r:]
        turned = jnp.concatenate([a * cosine - b * sine, b * cosine + a * sine], axis=-1)
    turned = turned.astype(x.dtype)
    return jnp.concatenate([turned, rest], axis=-1) if rest.shape[-1] else turned


def half_from_interleaved(width: int) -> Int[np.ndarray, " e"]:
    """Permutation: x[..., perm] under "half" behaves as x under "interleaved", e.g. for the columns of a checkpoint's q and k."""
    return np.concatenate([np.arange(0, width, 2), np.arange(1, width, 2)])

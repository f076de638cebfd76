"""Rotary position embedding of images, by where a patch lies between the borders."""

from __future__ import annotations

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places
from jaxemb.posemb.rotary import Rotary
from jaxemb.types import Paper


class RotaryCentred(Rotary):
    """Turns as `Rotary`, by angles that run from border to border, whatever the resolution, and are 0 in the middle:

        p <- 2 pi (2 (p + 1/2) / n - 1) for place p of the n along an axis

    An image of more patches has finer steps, none beyond those of training. No parameters. DINOv3 moves and stretches them at
    random in training; that is not done here.
    """

    paper: ClassVar[Paper | None] = Paper("DINOv3", 2025, "arxiv.org/abs/2508.10104")

    axes: int = 2
    base: float = 100.0

    def locate(self, places: Places) -> Float[Array, "_ n c"]:
        pos, grid = places.pos, places.grid
        if grid is None or len(grid) != pos.shape[-1]:
            raise ConfigError("RotaryCentred needs the grid of the input: positions count from its middle to its borders")
        dtype = pos.dtype if jnp.issubdtype(pos.dtype, jnp.floating) else jnp.result_type(float)
        sides = jnp.asarray(grid, dtype)[None, None]
        return 2 * math.pi * (2 * (pos.astype(dtype) + 0.5) / sides - 1)

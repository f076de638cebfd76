"""Learned order of patches: real-valued positions along a curve, shifted by what the picture shows."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, choices
from jaxemb.layers.norms import BatchNorm
from jaxemb.ops.grid import cell_ids
from jaxemb.posemb.base import Places, PosEmb, refuse
from jaxemb.posemb.curve import visits
from jaxemb.posemb.sincos import sincos
from jaxemb.types import Paper

COORDINATES = ("unit", "raw")
PICTURES = ("image", "constant")
OFFSETS = ("position", "token")
PLANES = (32, 16, 8, 4, 1)
"""Channels after each convolution."""


class LOOPE(PosEmb):
    """Adds waves of X = X_G + X_C: the place on a Gilbert curve, and an offset in (-1, 1) that a small CNN reads off the picture.

        E(X) = [sin(X w_i) | cos(X w_i)]      w_i = 10000^(-2i/D), i < D/2      X_C = tanh(W_L BN(CNN(x | y | picture)) + b)

    The CNN has five convolutions: one that turns a patch into a pixel, then four 5x5; GELU after each. No code was published.
    Choices: stride, zero padding, GELU, coordinates divided by their largest value, BN of one channel (eps 1e-5, momentum .1), W_L
    drawn with std .01 so that X_C ~ 0 at the start. BN and W_L belong to one grid. Class and register tokens get no waves. Of a
    context of I-JEPA the CNN sees the hidden patches too; its predictor sees no picture and needs another embedding, say `Curve`.
    Parameters, under `context`: `conv1` (P, P, 2 + c, 32) ... `conv5` (5, 5, 4, 1), `norm` (1), `linear` (N, N), all with biases;
    the averages of BN are in `batch_stats`. With offset="token" also `direction` (d).
    """

    paper: ClassVar[Paper | None] = Paper(
        "LOOPE: Learnable Optimal Patch Order in Positional Embeddings", 2025, "arxiv.org/abs/2504.14386"
    )
    axes: ClassVar[int] = 2

    coordinates: str = "unit"
    """Of the two planes that tell the CNN where a pixel is: "unit" from 0 to 1, "raw" in pixels, which saturates."""
    picture: str = "image"
    """"constant": a control whose CNN sees the coordinates alone, so that all examples have the same offsets."""
    offset: str = "position"
    """"token": a control with the same CNN whose output shifts no position: X = X_G, and X_C times a trained vector (std .02) is
    added to the tokens. (Added to all features alike it would be gone after the first LayerNorm.)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choices(self, coordinates=COORDINATES, picture=PICTURES, offset=OFFSETS)

    def setup(self) -> None:
        self.context = Offsets()

    def locate(self, places: Places) -> Float[Array, "_ n c"]:
        """X, of one number; with offset="token" X_G and X_C."""
        refuse(places.allow, self, "its network sees the whole picture")
        pos, grid, picture = places.pos, places.grid, places.picture
        if picture is None or grid is None or len(grid) != 2:
            raise ConfigError("LOOPE reads the picture and its grid of patches, and this encoder (or predictor) was given none")
        if pos.shape[-1] != 2 or not jnp.issubdtype(pos.dtype, jnp.integer):
            raise ConfigError(f"LOOPE needs a whole row and column, not positions of {pos.shape[-1]} numbers of {pos.dtype}")
        dtype = jnp.result_type(float)
        picture = picture.astype(dtype)
        if self.picture == "constant":
            picture = jnp.zeros_like(picture[:1])
        offsets = self.context(self._with_coordinates(picture), grid, places.train)
        index = visits(pos, "gilbert", grid)
        cell, inside = cell_ids(pos, grid)
        cell = jnp.where(inside, cell, offsets.shape[1])
        shift = jnp.take_along_axis(offsets, cell, axis=1, mode="fill", fill_value=jnp.nan)  # outside the grid
        index = index.astype(dtype)
        if self.offset == "token":
            return jnp.stack([jnp.broadcast_to(index, shift.shape), shift], axis=-1)
        return (index + shift)[..., None]

    @nn.compact
    def add(self, x: Float[Array, "b n d"], places: Places) -> Float[Array, "b n d"]:
        pos = places.pos
        x = x + sincos(pos[..., :1], x.shape[-1]).astype(x.dtype)
        if self.offset == "token":
            direction = self.param("direction", nn.initializers.normal(0.02), (x.shape[-1],), jnp.float32)
            x = x + (pos[..., 1:] * direction[None, None].astype(pos.dtype)).astype(x.dtype)
        return x

    def _with_coordinates(self, picture: Float[Array, "b H W c"]) -> Float[Array, "b H W d"]:
        planes = [picture]
        for axis, side in reversed(list(enumerate(picture.shape[1:3]))):
            line = jnp.arange(side, dtype=picture.dtype) / (max(side - 1, 1) if self.coordinates == "unit" else 1)
            line = line.reshape(1, -1, 1, 1) if axis == 0 else line.reshape(1, 1, -1, 1)
            planes.insert(0, jnp.broadcast_to(line, (*picture.shape[:3], 1)))
        return jnp.concatenate(planes, axis=-1)


class Offsets(nn.Module):
    """X_C of every cell of the grid, row by row."""

    @nn.compact
    def __call__(self, x: Float[Array, "b H W c"], grid: tuple[int, int], train: bool) -> Float[Array, "b n"]:
        size = (x.shape[1] // grid[0], x.shape[2] // grid[1])
        if (size[0] * grid[0], size[1] * grid[1]) != x.shape[1:3]:
            raise ConfigError(
                f"LOOPE: a picture of {x.shape[1]} x {x.shape[2]} is not whole patches on a {grid[0]} x {grid[1]} grid"
            )
        for i, channels in enumerate(PLANES, 1):
            window: dict[str, Any] = {"strides": size, "padding": "VALID"} if i == 1 else {"padding": "SAME"}
            x = nn.Conv(channels, size if i == 1 else (5, 5), dtype=x.dtype, name=f"conv{i}", **window)(x)
            x = nn.gelu(x, approximate=False)
        x = BatchNorm(momentum=0.9, eps=1e-5, name="norm")(x, train=train)
        x = x.reshape(x.shape[0], -1)
        return jnp.tanh(nn.Dense(x.shape[1], kernel_init=nn.initializers.normal(0.01), dtype=x.dtype, name="linear")(x))

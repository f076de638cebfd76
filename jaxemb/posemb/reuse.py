"""Longer inputs than in training, by giving several tokens the same position; nothing is trained."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

from jaxemb.config import ConfigError
from jaxemb.posemb.base import Places, PosEmb
from jaxemb.posemb.learned import Learned
from jaxemb.posemb.rescale import Factor, _Scaled, check_factor, per_axis
from jaxemb.posemb.wrapper import _Wrapper
from jaxemb.types import Paper

LONGEMBED = Paper("LongEmbed: Extending Embedding Models for Long Context Retrieval", 2024, "arxiv.org/abs/2404.12096")


class Grouped(_Scaled):
    """Grouped positions: p -> floor(p / s); s neighbours share a position."""

    paper: ClassVar[Paper | None] = LONGEMBED

    of: PosEmb = field(default_factory=lambda: Learned(shape=(128,)))
    factor: Factor | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(f is not None and f != int(f) for f in (self.factor if isinstance(self.factor, tuple) else (self.factor,))):
            raise ConfigError(f"Grouped.factor={self.factor} must be whole")

    def shrunk(self, pos: Num[Array, "_ n a"], scale: Float[Array, "_ _ a"]) -> Num[Array, "_ n a"]:
        return pos // scale.astype(pos.dtype)


class Recurrent(_Wrapper):
    """Recurrent positions: p -> p mod Lo; positions start again where the training length ends."""

    paper: ClassVar[Paper | None] = LONGEMBED

    of: PosEmb = field(default_factory=lambda: Learned(shape=(128,)))
    original: int | tuple[int, ...] = 128
    """Lo: positions along each axis in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_factor("Recurrent", 1, self.original)

    def told(self, places: Places) -> Places:
        grid = places.grid
        if grid is not None:
            grid = tuple(map(min, grid, per_axis("Recurrent.original", self.original, len(grid))))
        return places.at(places.pos, grid=grid)

    def locate(self, places: Places) -> Num[Array, "_ n c"]:
        pos = places.pos
        period = jnp.asarray(per_axis("Recurrent.original", self.original, pos.shape[-1]), pos.dtype)[None, None]
        return self.of.locate(self.told(places).at(pos % period))

    def reach(self, window: int | None) -> int | None:
        return None

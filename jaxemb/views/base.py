"""The family of random views of images, made on the device. What a view looks like is fixed by its seed alone."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, UInt32

from jaxemb.config import ConfigError
from jaxemb.ops.draws import Draws
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Views:
    """`count` views of every image.

    Seeds are drawn on the host with the masks, so that a teacher and its student see the same views and a resumed run the same
    ones as if it had not stopped.
    """

    paper: ClassVar[Paper | None] = None

    count: int = 2
    size: int | None = None
    """Pixels along the side of a view; None: the image's own height and width."""

    def __post_init__(self) -> None:
        if self.count < 1 or (self.size is not None and self.size < 1):
            raise ConfigError(f"views: count and size must be at least 1, are {self.count} and {self.size}")

    def seeds(self, draws: Draws) -> UInt32[np.ndarray, "b m"]:
        """One for each view, on the host."""
        return draws.integers(0, 2**32, self.count).astype(np.uint32)

    def __call__(self, images: Float[Array, "b H W c"], seeds: UInt32[Array, "b m"]) -> Float[Array, "b m h w c"]:
        of_one = jax.vmap(self.view, in_axes=(None, 0))
        return jax.vmap(of_one)(images, seeds)

    def normalised_by(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Views:
        """These views of images that were normalised so, where the views have not been told otherwise."""
        return self

    def view(self, x: Float[Array, "H W c"], seed: UInt32[Array, ""]) -> Float[Array, "h w c"]:
        """One view of one image."""
        raise TypeError(f"{type(self).__name__} does not define view")

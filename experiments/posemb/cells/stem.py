"""A stem for three coloured cells that are given by their places."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Int

from jaxemb.config import ConfigError
from jaxemb.nn.base import Stem


class Cells(Stem):
    """Three tokens, one a colour, whose positions are the cells: the sparse form of the data set `ThreeCell`.

    Token i is row i of `colours` in every example; only positions differ. Parameters: `colours` (3, d).
    """

    size: int = 14
    """Cells a side of the grid."""
    std: float = 1.0
    """Spread of the colours at the start. At the .02 of other tables sine-cosine positions drown them: 2-D ones then stand at
    71 % after 700 steps of Three Cell, instead of 97 %."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 1:
            raise ConfigError(f"Cells.size must be at least 1, is {self.size}")

    @nn.compact
    def __call__(
        self,
        inputs: Int[Array, "b 3 2"],
        *,
        width: int,
        keep: Array | None = None,
        types: Array | None = None,
        dtype: str = "float32",
    ) -> Float[Array, "b 3 d"]:
        if keep is not None or types is not None:
            raise ConfigError(
                "Cells cannot keep a part of its three tokens, nor give them types: masked prediction needs another stem"
            )
        colours = self.param("colours", nn.initializers.normal(self.std), (3, width), jnp.float32)
        return jnp.broadcast_to(colours[None], (len(inputs), 3, width)).astype(dtype)

    def positions(self, inputs: Int[Array, "b 3 2"], keep: Array | None = None) -> Int[Array, "b 3 2"]:
        return inputs

    def grid(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return self.size, self.size

    def picture(self, inputs: Int[Array, "b 3 2"]) -> Float[Array, "b size size 3"]:
        """The board with one pixel a cell: pure red, green and blue on black. A cell outside the grid is not drawn."""
        rows, columns = (jax.nn.one_hot(inputs[..., i], self.size) for i in (0, 1))
        return jnp.einsum("bcy,bcx->byxc", rows, columns)  # products of zeros and ones: a pixel for each colour

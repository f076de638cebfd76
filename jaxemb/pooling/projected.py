"""A pooling with a norm and a linear layer after it."""

from __future__ import annotations

from dataclasses import field

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from jaxemb.config import within
from jaxemb.layers.dense import Dense
from jaxemb.layers.norms import Norm
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.mean import Mean
from jaxemb.types import Features


class Projected(Pooling):
    """norm(p(x)) W + b, for another pooling p: how towers of images and texts come to vectors of one width.

    Parameters: of, norm, proj (kernel, bias), each where it is there.
    """

    of: Pooling = field(default_factory=Mean)
    norm: Norm | None = None
    features: int | None = None
    """Width of the result; None: no linear layer."""
    bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, features=(1, 2**20))

    @nn.compact
    def __call__(self, f: Features) -> Float[Array, "b *m d"]:
        z = self.of(f)
        z = z if self.norm is None else self.norm(z)
        return z if self.features is None else Dense(self.features, self.bias, kernel_init="lecun", name="proj")(z)

    def wants(self, depth: int) -> tuple[int, ...]:
        return self.of.wants(depth)

"""Several poolings side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jaxemb.config import ConfigError, suggest
from jaxemb.pooling.base import Pooling
from jaxemb.pooling.first import First
from jaxemb.pooling.max import Max
from jaxemb.pooling.mean import Mean
from jaxemb.pooling.mean_sqrt import MeanSqrt
from jaxemb.pooling.token import Token
from jaxemb.pooling.weighted_mean import WeightedMean
from jaxemb.types import Features

MODES: dict[str, type[Pooling]] = {
    "cls": First,
    "max": Max,
    "mean": Mean,
    "mean_sqrt_len_tokens": MeanSqrt,
    "weightedmean": WeightedMean,
    "lasttoken": Token,
}
"""The names of sentence-transformers, in the order in which it puts modes that are flags side by side."""


class Concat(Pooling):
    """[p_1(x), p_2(x), ...]: the vectors of several poolings, one after the other; k poolings are k times as wide."""

    parts: tuple[Pooling, ...] = field(default_factory=lambda: (Max(), Mean()))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts:
            raise ConfigError("Concat.parts must name at least one pooling")

    def __call__(self, f: Features) -> Float[Array, "b d"]:
        return jnp.concatenate([pool(f) for pool in self.parts], axis=-1)

    def wants(self, depth: int) -> tuple[int, ...]:
        found = {layers for p in self.parts if (layers := p.wants(depth))}
        if len(found) > 1:
            raise ConfigError(f"Concat.parts read different layers: {', '.join(map(str, sorted(found)))}; they must read the same")
        return found.pop() if found else ()


def of_modes(names: Sequence[str]) -> Pooling:
    """The pooling that sentence-transformers calls by these names: one, or several side by side in this order."""
    for name in names:
        if name not in MODES:
            raise ConfigError(f"there is no pooling mode {name!r}{suggest(name, MODES)}")
    parts = tuple(Token(last=True) if name == "lasttoken" else MODES[name]() for name in names)
    return parts[0] if len(parts) == 1 else Concat(parts)

"""An experiment that starts from several sources, each of which has a part of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxemb.config import ConfigError
from jaxemb.train.init import Init, Say


@dataclasses.dataclass(frozen=True)
class Several(Init):
    """What all of these give; where two give an array, the later one's counts.

    Several((FromPretrained(student), FromPretrained(guide, into="guide/model")))
    """

    inits: tuple[Init, ...]

    def __post_init__(self) -> None:
        if not self.inits:
            raise ConfigError("Several.inits is empty: name what the experiment starts from, or leave out `init`")

    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        for init in self.inits:
            found |= init(shapes, say)
        return found

    def keep(self, run: Any) -> None:
        for init in self.inits:
            init.keep(run)

"""The family of transforms: fitted in closed form to rows, then applied to any rows."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from jaxemb.types import Paper

Arrays = Mapping[str, np.ndarray]
"""What was fitted, by name."""


@dataclasses.dataclass(frozen=True)
class Transform(abc.ABC):
    """A map of rows. Its fields are the description; what it fits are plain arrays beside it, as are a module's parameters."""

    paper: ClassVar[Paper | None] = None

    @abc.abstractmethod
    def fit(self, x: Float[np.ndarray, "n d"]) -> Arrays:
        """The arrays that `apply` needs."""

    @abc.abstractmethod
    def apply(self, arrays: Arrays, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """Rows mapped, each by itself."""

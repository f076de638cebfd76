"""What a format of shards must do; see data/shards.py."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

Row = dict[str, Any]
"""Values by the name of their column."""


class ShardFile(abc.ABC):
    """One file."""

    path: str
    columns: dict[str, str]
    """The type of each column that is read, in the words of the format."""
    ends: Int64[np.ndarray, " blocks"]
    """How many rows there are up to the end of each block: what is read at once."""

    @abc.abstractmethod
    def block(self, number: int) -> Sequence[Row]:
        """The rows of a block."""

    @abc.abstractmethod
    def rows(self, numbers: Sequence[int]) -> list[Row] | None:
        """Some rows; None where only blocks can be read."""

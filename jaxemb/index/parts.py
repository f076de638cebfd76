"""An index that keeps its rows in several ways, each by an index of its own."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

from jaxemb.config import ConfigError
from jaxemb.index.base import Index, Tree

SCORED = "Exact, Scalar, Binary, PQ, OPQ, RaBitQ or BEBR"
"""Indexes of vectors that define `scores`."""


def check_part(where: str, index: Index, scored: bool) -> None:
    """A `ConfigError` where `index` cannot be the part `where` ("IVF.index") of another one: it is one of vectors and, where it is
    given rows to compare all of them (`scored`), defines `scores`."""
    if scored and (of_texts(index) or type(index).scores is Index.scores):
        raise ConfigError(f"{where} compares all rows that it is given: it is {SCORED}, not {type(index).__name__}")
    if of_texts(index):
        raise ConfigError(f"{where} finds vectors, one a row, and {type(index).__name__} texts with a vector a token")


def of_texts(index: Index) -> bool:
    """Whether rows are matrices, also those of an index within."""
    inner = getattr(index, "index", None)
    return index.texts or isinstance(inner, Index) and of_texts(inner)


@dataclasses.dataclass(frozen=True)
class _OfParts(Index):
    """What is kept of rows is nested by the names of `parts`."""

    @property
    @abc.abstractmethod
    def parts(self) -> dict[str, Index]:
        """The indexes, by the names of their arrays."""

    def check_mesh(self) -> None:
        for index in self.parts.values():
            index.check_mesh()

    def axes(self, rows: Tree) -> Tree:
        return {name: index.axes(rows[name]) for name, index in self.parts.items()}

    def join(self, parts: list[Tree]) -> Tree:
        # Taken out of the parts, so that nothing but `join` holds them.
        return {name: index.join([part.pop(name) for part in parts]) for name, index in self.parts.items()}

    def take(self, rows: Tree, which: Any) -> Tree:
        return {name: index.take(rows[name], which) for name, index in self.parts.items()}

    def place(self, rows: Tree) -> Tree:
        return {name: index.place(rows[name]) for name, index in self.parts.items()}

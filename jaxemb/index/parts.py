"""An index that keeps its rows in several ways, each by an index of its own."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

from jaxemb.index.base import Index, Tree


@dataclasses.dataclass(frozen=True)
class _OfParts(Index):
    """What is kept of rows is nested by the names of `parts`."""

    @property
    @abc.abstractmethod
    def parts(self) -> dict[str, Index]:
        """The indexes, by the names of their arrays."""

    def axes(self, rows: Tree) -> Tree:
        return {name: index.axes(rows[name]) for name, index in self.parts.items()}

    def join(self, parts: list[Tree]) -> Tree:
        # Taken out of the parts, so that nothing but `join` holds them.
        return {name: index.join([part.pop(name) for part in parts]) for name, index in self.parts.items()}

    def take(self, rows: Tree, which: Any) -> Tree:
        return {name: index.take(rows[name], which) for name, index in self.parts.items()}

    def place(self, rows: Tree) -> Tree:
        return {name: index.place(rows[name]) for name, index in self.parts.items()}

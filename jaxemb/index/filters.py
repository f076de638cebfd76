"""Which rows a search may find, by their tags: equality, a range, membership of a set, and what these make together.

Equals("language", "de") & Range("year", 1990, 1999) & ~Contains("authors", "Knuth")
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxemb.config import ConfigError, suggest
from jaxemb.index.tags import Column, Tags

Value = str | int | float | bool


@dataclasses.dataclass(frozen=True)
class Filter(abc.ABC):
    """A condition that a row meets or does not."""

    @abc.abstractmethod
    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        """True for rows that may be found."""

    def __and__(self, other: Filter) -> Filter:
        return AllOf((self, other))

    def __or__(self, other: Filter) -> Filter:
        return AnyOf((self, other))

    def __invert__(self) -> Filter:
        return Not(self)


@dataclasses.dataclass(frozen=True)
class Equals(Filter):
    """The tag has this value."""

    tag: str
    value: Value

    def __post_init__(self) -> None:
        _values(self, self.value)

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        return _of(tags, self.tag, False, self.value).between(self.value, self.value)


@dataclasses.dataclass(frozen=True)
class OneOf(Filter):
    """The tag has one of these values."""

    tag: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise ConfigError(f"OneOf: {self.tag!r} is one of some values, ({self.values!r},), and {self.values!r} is a single one")
        _values(self, *self.values)

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        found = _of(tags, self.tag, False, *self.values)
        return np.logical_or.reduce([np.zeros(len(found), bool), *(found.between(v, v) for v in self.values)])


@dataclasses.dataclass(frozen=True)
class Range(Filter):
    """low <= value <= high; None: no bound. Of low > high no row passes. Names are ordered by their characters."""

    tag: str
    low: str | int | float | None = None
    high: str | int | float | None = None

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        bounds = [x for x in (self.low, self.high) if x is not None]
        return _of(tags, self.tag, False, *bounds).between(self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Contains(Filter):
    """The set of the row has this value."""

    tag: str
    value: Value

    def __post_init__(self) -> None:
        _values(self, self.value)

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        found = _of(tags, self.tag, True, self.value)
        return found.has(found.between(self.value, self.value))


@dataclasses.dataclass(frozen=True)
class AllOf(Filter):
    """Each of some conditions."""

    filters: tuple[Filter, ...]

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        return np.logical_and.reduce([f.passes(tags) for f in _some(self)])


@dataclasses.dataclass(frozen=True)
class AnyOf(Filter):
    """One of some conditions at least."""

    filters: tuple[Filter, ...]

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        return np.logical_or.reduce([f.passes(tags) for f in _some(self)])


@dataclasses.dataclass(frozen=True)
class Not(Filter):
    """Where another condition is not met."""

    filter: Filter

    def passes(self, tags: Tags) -> Bool[np.ndarray, " m"]:
        return ~self.filter.passes(tags)


def _values(of: Equals | OneOf | Contains, *values: Any) -> None:
    """None would be no bound, and let every row pass."""
    if any(v is None for v in values):
        raise ConfigError(f"{type(of).__name__}: the tag {of.tag!r} is compared with numbers or names, and None is neither")


def _some(of: AllOf | AnyOf) -> tuple[Filter, ...]:
    if not of.filters:
        raise ConfigError(f"{type(of).__name__} of no filters: name one at least")
    return of.filters


def _of(tags: Tags, name: str, sets: bool, *values: Any) -> Column:
    """A tag that can be compared with these values."""
    if name not in tags:
        raise ConfigError(f"the rows have no tag {name!r}{suggest(name, tags)}")
    found = tags[name]
    if sets != (found.starts is not None):
        raise ConfigError(f"the tag {name!r} has {found.kind}: {'Equals, OneOf or Range' if sets else 'Contains'} asks for those")
    if wrong := [v for v in values if isinstance(v, str) != (found.names is not None)]:
        raise ConfigError(f"the tag {name!r} has {found.kind}, and {wrong[0]!r} is none")
    return found

"""Filters as they are written on a command line: "year>=1990", "language=de", "topics!=art"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from jaxemb.config import ConfigError, suggest
from jaxemb.index.filters import AllOf, Contains, Equals, Filter, Range
from jaxemb.index.tags import Column, Tags

CONDITION = re.compile(r"\s*([^=!<>]*[^=!<>\s])\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*", re.S)


def all_of(conditions: Sequence[str], tags: Tags, others: Mapping[str, str] | None = None) -> Filter | None:
    """The rows that meet each of some conditions; None where there are none. `others`: of values that are no tags, why not."""
    return AllOf(tuple(condition(text, tags, others) for text in conditions)) if conditions else None


def condition(text: str, tags: Tags, others: Mapping[str, str] | None = None) -> Filter:
    """`tag=value`, `!=`, `<`, `<=`, `>`, `>=`; of a tag with a set a row, whether that has the value."""
    found = CONDITION.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no condition: write tag=value, or !=, <, <=, > or >= between them")
    name, how, given = found.groups()
    if name not in tags and others and name in others:
        raise ConfigError(f"{text!r}: {name!r} is no tag: {others[name]}; valid: {', '.join(sorted(tags)) or 'none'}")
    if name not in tags:
        raise ConfigError(f"{text!r}: the rows have no tag {name!r}{suggest(name, tags)}")
    column = tags[name]
    value = given if column.names is not None else _number(text, given, column)
    if how in ("=", "==", "!="):
        equal = Equals(name, value) if column.starts is None else Contains(name, value)
        return equal if how != "!=" else ~equal
    if column.starts is not None:
        raise ConfigError(f"{text!r}: {name!r} has {column.kind}: ask for = or !=")
    # NaN, which is no value, lies in neither range: what is left of one without its bound does not hold it either.
    if how in ("<=", ">="):
        return Range(name, None if how == "<=" else value, value if how == "<=" else None)
    whole = Range(name, None if how == "<" else value, value if how == "<" else None)
    return whole & ~Equals(name, value)


def _number(text: str, given: str, column: Column) -> float:
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ConfigError(f"{text!r}: the tag has {column.kind}, and {given!r} is none")
    return value

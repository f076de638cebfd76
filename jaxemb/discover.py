"""Finds the members of a family by walking its package: no registration, no export list."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

from jaxemb.config import ConfigError, fields, find_class, suggest
from jaxemb.types import Paper

FAMILIES = {
    "posemb": "jaxemb.posemb.base:PosEmb",
    "pooling": "jaxemb.pooling.base:Pooling",
    "objectives": "jaxemb.objectives.base:Objective",
    "data": "jaxemb.data.base:Data",
    "evals": "jaxemb.evals.base:Eval",
}


@dataclasses.dataclass(frozen=True)
class Member:
    """One method of a family."""

    family: str
    name: str
    cls: type
    paper: Paper | None
    summary: str
    defaults: dict[str, Any]


def members(family: str) -> list[Member]:
    """The public concrete subclasses of a family's base, in the order of their names.

    A class that others build on belongs to the family unless its name starts with an underscore or it is abstract.
    """
    if family not in FAMILIES:
        raise ConfigError(f"there is no family {family!r}{suggest(family, FAMILIES)}")
    base = find_class(FAMILIES[family])
    package = importlib.import_module(f"jaxemb.{family}")
    found = []
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        found += [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [c for c in found if issubclass(c, base) and c is not base]
    found = [c for c in found if not c.__name__.startswith("_") and not inspect.isabstract(c)]
    return [_member(family, c) for c in sorted(found, key=lambda c: c.__name__)]


def _member(family: str, cls: type) -> Member:
    defaults = {}
    for name, f in fields(cls).items():
        if f.default is not dataclasses.MISSING:
            defaults[name] = f.default
        elif f.default_factory is not dataclasses.MISSING:
            defaults[name] = f.default_factory()
    summary = (inspect.getdoc(cls) or "").split("\n")[0]
    return Member(family, cls.__name__, cls, getattr(cls, "paper", None), summary, defaults)


def list_methods(family: str | None = None) -> list[Member]:
    """The members of one family, or of all."""
    return [m for f in ([family] if family else FAMILIES) for m in members(f)]

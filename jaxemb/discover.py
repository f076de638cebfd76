"""Finds families by their `base.py`, and their members by walking the package: no registration, no table, no export list."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jaxemb
from jaxemb.config import ConfigError, fields, suggest
from jaxemb.types import Paper


@dataclasses.dataclass(frozen=True)
class Member:
    """One method of a family."""

    family: str
    name: str
    cls: type
    paper: Paper | None
    summary: str
    defaults: dict[str, Any]


def families() -> dict[str, type]:
    """The base class of every family, by its name.

    A family is a class in a `base.py`, at any depth, that declares `paper`. It is named like its package, or as it says itself in
    `family: ClassVar[str]`: so several families can share a package, as data sets and augmentations do.
    """
    found: dict[str, type] = {}
    for package in _packages(jaxemb.__path__, "jaxemb."):
        for base in bases(importlib.import_module(f"{package}.base")):
            name = vars(base).get("family", package.rpartition(".")[2])
            if name in found:
                raise ConfigError(
                    f"two families are called {name!r}: {found[name].__module__}:{found[name].__name__} and "
                    f"{base.__module__}:{base.__name__}; give one of them another name, `family: ClassVar[str] = ...`"
                )
            found[name] = base
    return dict(sorted(found.items()))


def bases(module: ModuleType) -> list[type]:
    """The classes of a `base.py` that are the base of a family."""
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    return [c for c in own if not c.__name__.startswith("_") and "paper" in vars(c).get("__annotations__", {})]


def _packages(paths: Iterable[str], prefix: str) -> Iterator[str]:
    """The packages below `paths` that have a `base.py`."""
    for info in pkgutil.iter_modules(paths):
        if info.ispkg:
            folder = Path(getattr(info.module_finder, "path", "")) / info.name
            if (folder / "base.py").is_file():
                yield prefix + info.name
            yield from _packages([str(folder)], f"{prefix}{info.name}.")


def members(family: str) -> list[Member]:
    """The public concrete subclasses of a family's base, in the order of their names.

    A class that others build on belongs to the family unless its name starts with an underscore or it is abstract.
    """
    known = families()
    if family not in known:
        raise ConfigError(f"there is no family {family!r}{suggest(family, known)}")
    base = known[family]
    found = {c for m in modules(base.__module__.rpartition(".")[0]) for c in vars(m).values() if inspect.isclass(c)}
    found = [c for c in found if issubclass(c, base) and c is not base and c.__module__.startswith("jaxemb.")]
    found = [c for c in found if not c.__name__.startswith("_") and not inspect.isabstract(c)]
    return [_member(family, c) for c in sorted(found, key=lambda c: c.__name__)]


def modules(package: str) -> Iterator[ModuleType]:
    """The modules of a package and of those inside it."""
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = f"{package}.{info.name}"
        if info.ispkg:
            yield from modules(name)
        else:
            yield importlib.import_module(name)


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
    return [m for f in ([family] if family else families()) for m in members(f)]

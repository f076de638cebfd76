"""Short imports: a package offers what its modules define, and imports a module when one of its names is used (PEP 562).

`from jaxemb.posemb import SeqPE` imports jaxemb/posemb/seqpe.py and what that needs. Offered are the public classes of the modules
(no records, protocols or errors), and the public functions of modules that are called presets. Names are read off the files, so
that a new file needs no list; the imports for type checkers in each `__init__.py` are written by `scripts/short_imports.py`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CLASS = re.compile(r"^class ([A-Za-z]\w*)(?:\((.*)\))?:", re.M)
FUNCTION = re.compile(r"^def ([A-Za-z]\w*)", re.M)
NOT_OFFERED = re.compile(r"NamedTuple|Protocol|Error|Exception")


def attach(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package. It gives `__all__` too, which `import *` asks for: all that is offered."""

    def single() -> list[str]:
        return [name for name, homes in offered(package).items() if len(homes) == 1]

    def get(name: str) -> Any:
        if name == "__all__":
            return single()
        homes = [] if name.startswith("_") else offered(package).get(name, [])
        if len(homes) == 1:
            return getattr(importlib.import_module(homes[0]), name)
        if homes:
            raise AttributeError(f"{package}: {name} is defined in {' and '.join(homes)}; import it from one of them")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *single()})

    return get, names


def offered(package: str) -> dict[str, list[str]]:
    """The modules that define each name."""
    found: dict[str, list[str]] = {}
    for info in pkgutil.iter_modules(sys.modules[package].__path__):
        if not info.ispkg:
            for name in definitions(Path(getattr(info.module_finder, "path", "")) / f"{info.name}.py"):
                found.setdefault(name, []).append(f"{package}.{info.name}")
    return found


@functools.cache
def definitions(file: Path) -> tuple[str, ...]:
    """The names that a file offers."""
    text = file.read_text(encoding="utf-8")
    classes = [name for name, bases in CLASS.findall(text) if not NOT_OFFERED.search(bases)]
    return (*classes, *(FUNCTION.findall(text) if file.stem == "presets" else ()))


def block(package: str) -> Iterable[str]:
    """The imports that tell a type checker what is offered."""
    for name, homes in sorted(offered(package).items(), key=lambda item: (item[1], not item[0].isupper(), item[0])):
        if len(homes) == 1:
            yield f"    from {homes[0]} import {name} as {name}"

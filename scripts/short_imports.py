"""Writes the imports for type checkers into the `__init__.py` of every package that offers its members by name (jaxemb/lazy.py).

python scripts/short_imports.py           writes; part of `make docs`
python scripts/short_imports.py --check   names the files that are out of date
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from jaxemb.lazy import block

ROOT = Path(__file__).resolve().parents[1]


def packages() -> list[str]:
    """The packages whose `__init__.py` calls `attach`."""
    files = sorted((ROOT / "jaxemb").rglob("__init__.py"))
    return [".".join(f.relative_to(ROOT).parent.parts) for f in files if "attach(__name__)" in f.read_text()]


def text(package: str) -> str:
    """What the `__init__.py` should say; its docstring stays."""
    file = ROOT.joinpath(*package.split("."), "__init__.py")
    said = ast.get_docstring(ast.parse(file.read_text()), clean=False)
    importlib.import_module(package)
    lines = [
        f'"""{said}"""',
        "",
        "from typing import TYPE_CHECKING",
        "",
        "from jaxemb.lazy import attach",
        "",
        "if TYPE_CHECKING:  # written by scripts/short_imports.py",
        *block(package),
        "else:",
        "    __getattr__, __dir__ = attach(__name__)",
    ]
    return "\n".join(lines) + "\n"


def main(check: bool) -> int:
    stale = []
    for package in packages():
        file, new = ROOT.joinpath(*package.split("."), "__init__.py"), text(package)
        if file.read_text() != new:
            stale.append(str(file.relative_to(ROOT)))
            if not check:
                file.write_text(new)
    print("\n".join(stale) if stale else "short imports: all up to date")
    return bool(stale and check)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))

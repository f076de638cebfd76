"""What the command line prints: text, tables, and errors in one red line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxemb.files import escape

WIDE = 200
"""Columns of a line where the output is no terminal: nothing is cut off in a file."""


def console() -> Console:
    """Standard output as it is now, without colours that were not asked for."""
    out = Console(highlight=False, soft_wrap=True)
    return out if out.is_terminal else Console(highlight=False, width=WIDE)


def say(text: str, style: str | None = None) -> None:
    console().print(Text(clean(text), style=style or ""), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Prints rows under their columns; a name in `columns` that starts with ">" is aligned to the right and kept whole."""
    cells = [
        [x if isinstance(x, Text) else Text(number(x) if isinstance(x, float) else clean(str(x))) for x in row] for row in rows
    ]
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold", title_style="bold", title_justify="left")
    shown.title = title or None
    for i, name in enumerate(columns):
        right = name.startswith(">")
        # A long name may be broken, a number not.
        widest = max((row[i].cell_len for row in cells if i < len(row)), default=0) if right else None
        shown.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold", min_width=widest)
    for row in cells:
        shown.add_row(*row)
    console().print(shown)


def clean(text: str) -> str:
    """Text of several lines as any terminal shows it: what steers terminals, and bytes of names that are no UTF-8, escaped."""
    lines = ("".join(c if c.isprintable() or c == "\t" else escape(c) for c in line) for line in text.split("\n"))
    return "\n".join(lines)


def number(x: float) -> str:
    """Four digits, as in the log."""
    return f"{x:.4g}"


def size(count: int | float) -> str:
    """1234567 -> "1.23 M"."""
    for unit, factor in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * factor:  # 999 999 is 1 M, not "1e+03 k"
            return f"{count / factor:.3g} {unit}"
    return f"{count:.3g}"


def error(text: str) -> None:
    """One clear line to standard error, red on a terminal."""
    err = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    err.print(Text.assemble(("error: ", "bold red"), (clean(text), "red")), soft_wrap=True)

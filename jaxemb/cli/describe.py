"""Configs and methods in words."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from jaxemb.config import brief, fields

if TYPE_CHECKING:
    from jaxemb.discover import Member
    from jaxemb.train.summary import Parameter


def matches(m: Member, pattern: str) -> bool:
    """Whether a pattern of the shell, or a part, stands in the name, the summary or the paper."""
    texts = [t.lower() for t in (m.name, m.summary, str(m.paper or ""))]
    pattern = pattern.lower()
    return any(pattern in t or fnmatch.fnmatchcase(t, pattern) for t in texts)


def signature(m: Member) -> str:
    """`SinCos(axes=2, base=10000.0)`; objects by their class alone."""
    return f"{m.name}({arguments(m)})"


def arguments(m: Member) -> str:
    """The fields with their defaults; one without a default has to be given."""
    needed = [name for name in fields(m.cls) if name not in m.defaults]
    return ", ".join([*needed, *(f"{name}={brief(v)}" for name, v in m.defaults.items())])


def catalogue(families: dict[str, list[Member]]) -> str:
    """docs/methods.md."""
    lines = [
        "# Methods",
        "",
        "Made by `jaxemb list --markdown` (`make docs`) from the classes themselves. A field without a value has to be given.",
    ]
    for family, found in families.items():
        if not found:
            continue
        lines += ["", f"## {family}", "", "| method | what it does | fields | paper |", "|---|---|---|---|"]
        for m in found:
            file = "../" + m.cls.__module__.replace(".", "/") + ".py"
            paper = (
                f"[{m.paper}](https://{m.paper.url.removeprefix('https://')})" if m.paper and m.paper.url else str(m.paper or "")
            )
            cells = (f"[`{m.name}`]({file})", m.summary, f"`{own}`" if (own := arguments(m)) else "", paper)
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def by_module(parameters: Sequence[Parameter]) -> list[tuple[str, object, str, str]]:
    """Rows (module, layers, its arrays, parameters), and one for each whole part of the model."""
    rows: list[tuple[str, object, str, str]] = []
    for part, inside in groupby(parameters, lambda p: p.path.split("/")[0]):
        members = list(inside)
        for (module, copies), arrays in groupby(members, lambda p: (p.path.rpartition("/")[0], p.copies)):
            own = list(arrays)
            named = ", ".join(f"{p.path.rpartition('/')[2]} {shape(p.shape)}" for p in own)
            rows.append((module, copies if copies > 1 else "", named, f"{sum(p.count for p in own):,}"))
        rows.append((f"{part} in all", "", "", f"{sum(p.count for p in members):,}"))
    return rows


def tree(doc: Any, name: str = "", depth: int = 0) -> list[str]:
    """A config as indented lines."""
    pad = "  " * depth
    if isinstance(doc, dict) and doc:
        head = [f"{pad}{name:<{max(1, 24 - len(pad))}} {doc.get('@', '')}".rstrip()] if name else []
        return head + [line for k, v in doc.items() if k != "@" for line in tree(v, k, depth + bool(name))]
    if isinstance(doc, list) and any(isinstance(v, dict) for v in doc):
        return [f"{pad}{name}", *(line for i, v in enumerate(doc) for line in tree(v, str(i), depth + 1))]
    return [f"{pad}{name:<{max(1, 24 - len(pad))}} {doc}"]


def shape(s: Sequence[int]) -> str:
    return " x ".join(map(str, s)) or "scalar"

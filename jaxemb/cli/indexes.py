"""An index as it is written on the command line: `binary`, `PQ(parts=48)`, `Rerank(first=RaBitQ(), second=Scalar(bits=4))`."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from jaxemb.config import ConfigError, fields, find_class, from_json, parse, suggest, to_json
from jaxemb.discover import members
from jaxemb.index.base import Index


def index_of(text: str | None, similarity: str, texts: bool) -> Index:
    """The index that a text describes; None: all are compared. Where it names no similarity it gets this one, and so do the indexes
    within it. `texts`: whether there is a vector a token."""
    known = {m.name.lower(): m.cls for m in members("index")}
    if text is None:
        text = "LateInteraction" if texts else "Exact"
    # What is in quotation marks stays; a name has no module before it, and what comes before "=" is a field.
    names = rf"\"[^\"]*\"|'[^']*'|(?<![\w:.])({'|'.join(sorted(known, key=len, reverse=True))})(?!\w|\s*=)"
    whole = re.sub(names, lambda m: _path(known[m[1].lower()]) if m[1] else m[0], text.strip(), flags=re.I)
    doc: Any = parse(whole)
    if not isinstance(doc, dict) or "@" not in doc:
        name = text.partition("(")[0].strip()
        if wrong := _unread(text, name.lower() in known):
            raise ConfigError(f"--index {text}: {wrong}")
        valid = sorted(cls.__name__ for cls in known.values())
        raise ConfigError(f"--index {text}: there is no index {name!r}{suggest(name, valid)}")
    made = from_json(_filled(doc, similarity), "--index")
    if not isinstance(made, Index):
        raise ConfigError(f"--index {text}: a {type(made).__name__} is no index")
    if made.texts != texts:
        valid = ", ".join(sorted(cls.__name__ for cls in known.values() if cls.texts == texts))
        given = "a vector a token" if texts else "a vector a row"
        raise ConfigError(f"--index {text}: the model gives {given}, for which there are {valid}")
    return made


def _unread(text: str, known: bool) -> str:
    """What keeps a text from being read, where it is not the name before its brackets."""
    outside = re.sub(r"\"[^\"]*\"|'[^']*'", "", text)
    if opened := outside.count("(") - outside.count(")"):
        return "a bracket is open" if opened > 0 else "a bracket is closed that is not open"
    return "what stands in the brackets cannot be read: field=value, ..." if known else ""


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__name__}"


def _filled(doc: dict[str, Any], similarity: str) -> dict[str, Any]:
    """With the similarity where none is given, also in the indexes within it, such as stand there by default."""
    cls = find_class(doc["@"], "--index")
    if not issubclass(cls, Index):
        return doc
    found: dict[str, Any] = {"similarity": similarity} | doc
    if cls.texts:  # what is within compares other vectors
        return found
    for name, f in fields(cls).items():
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if isinstance(default, Index):
            found.setdefault(name, {k: v for k, v in to_json(default).items() if k != "similarity"})
        if isinstance(found.get(name), dict) and "@" in found[name]:
            found[name] = _filled(found[name], found["similarity"])
    return found

"""Objects to JSON and back: the config of a run *is* the tree of objects that it was made from.

An object is stored as `{"@": "module:Class", field: value, ...}`; linen modules and dataclasses nest freely, tuples become
lists (and come back as tuples). Which classes are read back is settled in `packages.py`, before anything is imported. Values
are checked against the annotations of their fields.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib
import json
import math
import re
import types
import typing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxemb import files, packages

CLASS_NAME = re.compile(r"([^\W\d]\w*(?:\.\w+)+):(\w+)")
"""How an object is written on the command line."""

LONGEST = 10_000
"""Characters of a value on the command line."""

MANY = 40
"""Valid names that an error lists."""

MOST = {"depth": 1024, "width": 2**17, "heads": 4096, "kv_heads": 4096, "head_width": 2**14, "registers": 4096, "classes": 2**24}
"""Fields that mean the same in every class, and the most that makes sense: beyond it a model takes for ever to trace."""

RENAMED: dict[str, str] = {}
"""Old names in stored configs: {"module:Class": "module:Class"} for classes, {"module:Class.field": "field"} for fields
(with the class name as it is today)."""


class ConfigError(ValueError):
    """A config that cannot be stored, read or overridden; the message names the field and what is valid."""


class DataError(ValueError):
    """Inputs or a data set that are missing or broken: says what was looked for, where, and how to get it."""


# ---- objects -> JSON -------------------------------------------------------------------------------------------------------------


def fields(cls: type) -> dict[str, dataclasses.Field]:
    """The fields that make up a config: those of `__init__`, without the two that linen adds to every module."""
    from flax import linen as nn

    linen = {"parent", "name"} if issubclass(cls, nn.Module) else set()
    return {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in linen}


def to_json(x: Any, where: str = "config") -> Any:
    """The JSON form of an object tree."""
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, Mapping):
        if bad := [k for k in x if not isinstance(k, str) or k == "@"]:
            raise ConfigError(f"{where}: keys of a mapping must be strings other than '@', not {bad[0]!r}")
        return {k: to_json(v, f"{where}.{k}") for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [to_json(v, f"{where}.{i}") for i, v in enumerate(x)]
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        cls = type(x)
        name = f"{cls.__module__}:{cls.__qualname__}"
        if not packages.is_allowed(cls.__module__) or "<locals>" in name:
            why = (
                f"{name} is made inside of a function; define it at the top of its module"
                if "<locals>" in name
                else packages.why_not(cls.__module__, name)
            )
            raise ConfigError(f"{where}: {name} could not be read back: {why}")
        return {"@": name} | {f: to_json(getattr(x, f), f"{where}.{f}") for f in fields(cls)}
    raise ConfigError(f"{where}: a {type(x).__name__} cannot be stored; use numbers, strings, tuples, mappings and dataclasses")


# ---- JSON -> objects -------------------------------------------------------------------------------------------------------------


def from_json(doc: Any, where: str = "config", depth: int = 0) -> Any:
    """The object tree of a JSON form; misspelt fields, wrong types and foreign classes are refused by name."""
    if depth > files.DEEPEST:
        raise ConfigError(f"{where[:80]}...: nested more than {files.DEEPEST} deep")
    if isinstance(doc, (list, tuple)):
        return tuple(from_json(v, f"{where}.{i}", depth + 1) for i, v in enumerate(doc))
    if not isinstance(doc, Mapping):
        return _plain(doc, where)
    if "@" not in doc:
        return {k: from_json(v, f"{where}.{k}", depth + 1) for k, v in doc.items()}
    name = RENAMED.get(doc["@"], doc["@"]) if isinstance(doc["@"], str) else doc["@"]
    cls = find_class(name, where)
    known = fields(cls)
    given = {str(RENAMED.get(f"{name}.{k}", k)): v for k, v in doc.items() if k != "@"}
    hints = field_types(cls)
    values = {}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"{where}: {cls.__name__} has no field {packages.shorten(key)}{suggest(key, known)}")
        if type(value) in (int, float) and value > MOST.get(key, value):
            raise ConfigError(f"{where}.{key}: {value} is more than {MOST[key]}, the most that makes sense")
        values[key] = conform(from_json(value, f"{where}.{key}", depth + 1), hints.get(key, Any), f"{where}.{key}")
    try:
        return cls(**values)
    except ConfigError as e:
        raise ConfigError(str(e) if str(e).startswith(where) else f"{where}: {e}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as e:
        raise ConfigError(f"{where}: {cls.__name__}: {e}") from e


def _plain(x: Any, where: str) -> Any:
    """A number or text that a config may hold."""
    if isinstance(x, float) and not math.isfinite(x):
        raise ConfigError(f"{where}: {x} is no value: numbers of a config are finite")
    if isinstance(x, int) and not -(2**63) <= x < 2**63:
        raise ConfigError(f"{where}: an integer of {x.bit_length()} bits, more than 64")
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    raise ConfigError(f"{where}: a {type(x).__name__} is nothing that JSON holds")


def find_class(name: Any, where: str = "config") -> type:
    """The dataclass that "module:Class" names."""
    try:
        found = packages.find(name)
    except packages.Refused as e:
        raise ConfigError(f"{where}: {e}") from e
    except LookupError as e:
        module, qualname, there = e.args
        here = there if isinstance(there, list) else [n for n, v in vars(there).items() if is_config(v) and v.__module__ == module]
        raise ConfigError(f"{where}: {module} has no class {qualname!r}{suggest(qualname, here)}") from e
    except ModuleNotFoundError as e:
        raise ConfigError(f"{where}: {name.partition(':')[0]} needs the package {e.name!r}, which is not installed") from e
    if not is_config(found):
        raise ConfigError(f"{where}: {name} is not a dataclass or module, so it cannot stand in a config")
    return found


def is_config(x: Any) -> bool:
    return isinstance(x, type) and dataclasses.is_dataclass(x)


def field_types(cls: type) -> dict[str, Any]:
    """The annotations of the fields, as objects. Types imported for checkers only are left unchecked."""
    hints = {}
    for owner in reversed(cls.__mro__):
        namespace = vars(importlib.import_module(owner.__module__))
        for name, hint in vars(owner).get("__annotations__", {}).items():
            try:
                hints[name] = eval(hint, dict(namespace)) if isinstance(hint, str) else hint  # the source of our own modules
            except NameError:
                hints[name] = Any
    return hints


def conform(value: Any, hint: Any, where: str) -> Any:
    """`value` if it fits the annotation (an int becomes a float where a float is asked for), an error that names both if not."""
    ok, value = _conform(value, hint)
    if not ok:
        shown = f"a {type(value).__name__}" if dataclasses.is_dataclass(value) else packages.shorten(value)
        wants_object = isinstance(value, str) and any(dataclasses.is_dataclass(h) for h in (hint, *typing.get_args(hint)))
        hint_how = "; write an object as module:Class or module:Class(field=value)" if wants_object else ""
        if wants_object and (named := CLASS_NAME.match(str(value))) and not packages.is_allowed(named[1]):
            hint_how = f"; {packages.why_not(named[1], named[0])}"
        raise ConfigError(f"{where}: expected {describe(hint)}, got {shown}{hint_how}")
    return value


def _conform(value: Any, hint: Any) -> tuple[bool, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True, value
    if hint is None or hint is type(None):
        return value is None, value
    if origin in (typing.Union, types.UnionType):
        exact = [r for a in args if (r := _conform(value, a))[0] and type(r[1]) is type(value)]
        loose = [r for a in args if (r := _conform(value, a))[0]]
        return (exact or loose or [(False, value)])[0]
    if origin is typing.Literal:
        return any(value == a and type(value) is type(a) for a in args), value
    if origin is tuple:
        return _conform_tuple(value, args)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return False, value
        parts = {k: _conform(v, args[1]) for k, v in value.items()}
        return all(ok for ok, _ in parts.values()), {k: v for k, (_, v) in parts.items()}
    if hint is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number, float(value) if number else value
    if hint is int:
        if isinstance(value, float) and value.is_integer():  # steps=1e4
            return True, int(value)
        return isinstance(value, int) and not isinstance(value, bool), value
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return isinstance(value, hint), value
    if isinstance(origin, type) and origin in (Sequence, Iterable):
        return isinstance(value, tuple), value
    return True, value  # callables, protocols: nothing that could be checked here


def _conform_tuple(value: Any, args: tuple) -> tuple[bool, Any]:
    if not isinstance(value, tuple):
        return False, value
    kinds = (args[0],) * len(value) if len(args) == 2 and args[1] is Ellipsis else args
    if len(kinds) != len(value):
        return False, value
    parts = [_conform(v, a) for v, a in zip(value, kinds, strict=True)]
    return all(ok for ok, _ in parts), tuple(v for _, v in parts)


def describe(hint: Any) -> str:
    """An annotation as a reader would write it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is typing.Literal:
        return " or ".join(repr(a) for a in args)
    if hint in (None, type(None)):
        return "None"
    if origin is tuple:
        return f"({', '.join('...' if a is Ellipsis else describe(a) for a in args)})"
    return getattr(hint, "__name__", str(hint))


# ---- overrides and comparisons ---------------------------------------------------------------------------------------------------


def override(x: Any, assignments: Sequence[str]) -> Any:
    """A copy of an object tree with `a.b.c=value` applied, in order.

    A value is JSON or a Python literal, else a string. `module:Class` or `module:Class(field=value)` makes an object.
    """
    return from_json(assigned(to_json(x), assignments))


def assigned(doc: Any, assignments: Sequence[str]) -> Any:
    """The JSON form of an object tree after `a.b.c=value` in it, in order."""
    for text in assignments:
        path, sep, value = text.partition("=")
        if not sep or not path.strip():
            raise ConfigError(f"--set {text!r}: write it as field=value, e.g. --set optim.lr=1e-3")
        if len(text) > LONGEST:
            raise ConfigError(f"--set {path.strip()[:80]}: {len(text)} characters are more than {LONGEST}")
        _assign(doc, path.strip(), parse(value.strip()))
    return doc


def _assign(doc: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for depth, part in enumerate(parents):
        doc = doc[_key(doc, part, path, depth)]
    # A mapping may grow, e.g. evals.knn=...; an object may not, but for fields that module:Class(...) has left as they are.
    new_entry = isinstance(doc, dict) and ("@" not in doc or (last not in doc and last in fields(find_class(doc["@"], path))))
    doc[last if new_entry else _key(doc, last, path, len(parents))] = value


def _key(doc: Any, part: str, path: str, depth: int) -> Any:
    """The key or index of `part` in `doc`, which stands at the first `depth` parts of `path`."""
    where = ".".join(path.split(".")[:depth]) or "the experiment"
    if isinstance(doc, list):
        if not re.fullmatch("[0-9]{1,9}", part) or int(part) >= len(doc):
            raise ConfigError(
                f"{path}: {where} has {len(doc)} entries, write a number below that instead of {packages.shorten(part)}"
            )
        return int(part)
    if not isinstance(doc, dict):
        raise ConfigError(f"{path}: {where} is {packages.shorten(doc)}, it has no fields")
    if part not in doc or part == "@":
        raise ConfigError(f"{path}: {_called(doc, where)} has no field {packages.shorten(part)}{suggest(part, doc.keys() - {'@'})}")
    return part


def _called(doc: dict, where: str) -> str:
    return f"{where} ({str(doc['@']).rpartition(':')[2]})" if "@" in doc else where


def parse(text: str) -> Any:
    """The JSON form of a value from the command line."""
    if sum(c in "([{" for c in text) > files.DEEPEST and files.depth(text) > files.DEEPEST:
        raise ConfigError(f"{packages.shorten(text)}: nested more than {files.DEEPEST} deep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of text that only looks like Python
        for read in (files.parse_json, ast.literal_eval):
            try:
                return json.loads(json.dumps(read(text)))  # tuples become lists, as in a stored config
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
        try:
            # `module:Class` is no Python; as the attribute `module.__class__of__.Class` it can be parsed, nested ones as well.
            call: Any = ast.parse(CLASS_NAME.sub(r"\1.__class__of__.\2", text), mode="eval").body
            name, keywords, positional = (call.func, call.keywords, call.args) if isinstance(call, ast.Call) else (call, [], [])
            target, given = _restore(name), {k.arg: _restore(k.value) for k in keywords}
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return text
    if not CLASS_NAME.fullmatch(target) or not _names_a_class(target):
        return text
    if positional or None in given:
        raise ConfigError(f"{text}: name the fields, {target}(field=value)")
    return {"@": target} | {str(field): parse(value) for field, value in given.items()}


def _names_a_class(target: str) -> bool:
    """Whether text that looks like a class is one: of a package that the user does not allow it stays text."""
    module = target.partition(":")[0]
    return module.partition(".")[0] in ("jaxemb", "experiments") or packages.is_allowed(module)


def _restore(node: ast.expr) -> str:
    return ast.unparse(node).replace(".__class__of__.", ":")


def diff(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    """The dotted paths at which two object trees differ, with both values (None where a side lacks the path)."""
    flat_a, flat_b = flatten(to_json(a)), flatten(to_json(b))
    return {k: (flat_a.get(k), flat_b.get(k)) for k in {**flat_a, **flat_b} if flat_a.get(k) != flat_b.get(k)}


def flatten(doc: Any, path: str = "") -> dict[str, Any]:
    """A JSON form as {dotted path: leaf}."""
    if isinstance(doc, Mapping) and doc:
        items: Iterable = doc.items()
    elif isinstance(doc, list) and doc:
        items = enumerate(doc)
    else:
        return {path: doc}
    return {k: v for name, sub in items for k, v in flatten(sub, f"{path}.{name}" if path else str(name)).items()}


def choices(owner: Any, **valid: Iterable[Any]) -> None:
    """Refuses a field of `owner` that holds none of its choices: `choices(self, order=("row", "column"))`."""
    for field, names in valid.items():
        value = getattr(owner, field)
        if value not in names:
            raise ConfigError(f"{type(owner).__name__}.{field}={value!r}{suggest(str(value), map(str, names))}")


def within(owner: Any, **limits: tuple[int | float, int | float]) -> None:
    """Refuses numbers of `owner` outside of [lowest, highest]: `within(self, heads=(1, 1024))`. NaN is outside, None passes."""
    for field, (low, high) in limits.items():
        value = getattr(owner, field)
        for x in value if isinstance(value, (tuple, list)) else (value,):
            if x is not None and not low <= x <= high:
                raise ConfigError(f"{type(owner).__name__}.{field}={value!r}: valid: {low:,} to {high:,}")


def above_zero(owner: Any, *fields: str) -> None:
    """Refuses numbers of `owner` that nothing can be divided by: 0, below it, and NaN."""
    for field in fields:
        if not (value := getattr(owner, field)) > 0:
            raise ConfigError(f"{type(owner).__name__}: {field} must be above 0, is {value}")


def not_negative(owner: Any, *fields: str) -> None:
    """Refuses numbers of `owner` below 0, and NaN; None passes, and of a tuple each one counts."""
    for field in fields:
        value = getattr(owner, field)
        if not all(x is None or x >= 0 for x in (value if isinstance(value, tuple) else (value,))):
            raise ConfigError(f"{type(owner).__name__}: {field} must not be negative, is {value}")


def suggest(given: str, valid: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name, and all of them, or many."""
    names = sorted(valid)
    near = difflib.get_close_matches(given[:100], names, n=1)
    rest = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" valid: {', '.join(names[:MANY]) or 'none'}{rest}"


def brief(x: Any) -> str:
    """A value in a few characters: an object as its class and the fields that are not the default."""
    if isinstance(x, tuple):
        return f"({', '.join(map(brief, x))}{',' * (len(x) == 1)})"
    if not dataclasses.is_dataclass(x):
        return repr(x)
    own = {name: getattr(x, name) for name, f in fields(type(x)).items() if getattr(x, name) != _default(f)}
    own = dict(sorted(own.items(), key=lambda item: _default(fields(type(x))[item[0]]) is not dataclasses.MISSING))  # needed first
    return f"{type(x).__name__}({', '.join(f'{name}={brief(v)}' for name, v in own.items())})"


def _default(f: dataclasses.Field) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()

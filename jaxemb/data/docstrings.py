"""Pairs of a docstring and its code, from the sources of Python that are installed: a corpus that every machine has.

The query is the first paragraph of a function's docstring, the positive the function without it, as `ast.unparse` writes it: no
comment, no layout, no trace of the docstring. What is held out are whole modules (all functions of a file) and whole libraries,
never single functions, since those of a module share names and style. A docstring or a code that occurs a second time is dropped,
also where the two stand in different splits: what is held out is not in what is trained on.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxemb import files
from jaxemb.preprocess.base import DataError

SKIPPED = {"test", "tests", "testing", "site-packages", "idlelib", "lib2to3", "__pycache__", "_vendor"}
"""Folders that are not gone into."""
TEXT, CODE = (20, 400), (60, 2000)
"""Characters of a docstring and of a code: the least, and the most."""
PARTS = ("train", "modules", "libraries")


class Function(NamedTuple):
    """A function with a docstring."""

    library: str
    module: str
    """"json/decoder.py", beneath the library's folder."""
    name: str
    """"JSONDecoder.decode"."""
    text: str
    code: str


class Functions(NamedTuple):
    """Those of each part, none of whose texts or codes occurs twice."""

    train: list[Function]
    modules: list[Function]
    """Of the modules that are held out."""
    libraries: list[Function]
    """Of the libraries that are held out."""
    dropped: dict[str, int]
    """Why functions with a docstring were left out, and how many."""


def functions(train: Sequence[str], held_out: Sequence[str] = (), *, share: float = 0.1, seed: int = 0) -> Functions:
    """The functions of some libraries, each a folder of sources or a file. Of the modules of `train` a `share` is held out, by a
    hash of library, module and `seed`; all of the libraries `held_out` are. Parts are filled in the order libraries, modules,
    train, so that of equal functions the one that is held out stays."""
    if not 0 <= share < 1:
        raise DataError(f"share must lie in [0, 1), not {share}: it is that of the modules that are held out")
    if both := {Path(p).resolve() for p in train} & {Path(p).resolve() for p in held_out}:
        raise DataError(f"{files.printable(min(both))} is both trained on and held out")
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    found: dict[str, list[Function]] = {name: [] for name in PARTS}
    every = list(_found(train, dropped))
    for part, own in (
        ("libraries", _found(held_out, dropped)),
        ("modules", (f for f in every if _share_of(f, seed) < share)),
        ("train", (f for f in every if _share_of(f, seed) >= share)),
    ):
        for f in own:
            keys = {f"text {_plain(f.text)}", f"code {_plain(_body(f.code))}"}
            if keys & seen:
                dropped["its docstring or its code occurs before"] += 1
                continue
            seen |= keys
            found[part].append(f)
    return Functions(**found, dropped=dict(dropped))


def standard_library() -> str:
    return sysconfig.get_paths()["stdlib"]


def installed(name: str) -> str:
    """The folder of an installed package; nothing of it is imported."""
    for key in ("purelib", "platlib"):
        place = Path(sysconfig.get_paths()[key]) / name
        if place.is_dir():
            return str(place)
    raise DataError(f"there is no package {files.printable(name)} in {files.printable(sysconfig.get_paths()['purelib'])}")


def write_functions(found: Functions, folder: str) -> dict[str, int]:
    """FOLDER/train.jsonl of pairs, and the parts that are held out as pairs (modules.jsonl) and as collections in BEIR's layout
    (FOLDER/modules/corpus.jsonl, ...); counts.json says how many of each there are. Equal arguments give equal files."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    counts = {part: len(own) for part in PARTS if (own := getattr(found, part))}
    for part in counts:
        own: list[Function] = getattr(found, part)
        ids = [f"{f.library}/{f.module}:{f.name}" for f in own]
        pairs = ({"query": f.text, "positive": f.code, "id": i} for f, i in zip(own, ids, strict=True))
        _write(home / f"{part}.jsonl", pairs)
        if part != "train":
            (home / part / "qrels").mkdir(parents=True, exist_ok=True)
            _write(home / part / "queries.jsonl", ({"_id": i, "text": f.text} for f, i in zip(own, ids, strict=True)))
            _write(home / part / "corpus.jsonl", ({"_id": i, "title": "", "text": f.code} for f, i in zip(own, ids, strict=True)))
            lines = "".join(f"{i}\t{i}\t1\n" for i in ids)
            (home / part / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}", encoding="utf-8")
    (home / "counts.json").write_text(json.dumps(counts | {"dropped": found.dropped}, indent=1) + "\n")
    return counts


def _found(libraries: Iterable[str], dropped: Counter[str]) -> Iterator[Function]:
    for library in libraries:
        root = Path(library)
        sources = [root] if root.is_file() else sorted(root.rglob("*.py"))
        if not sources:
            raise DataError(f"{files.printable(library)} holds no Python source (.py)")
        for file in sources:
            inside = Path(file.name) if file == root else file.relative_to(root)
            if not SKIPPED & set(inside.parts):
                yield from _of_module(file, root.stem, inside.as_posix(), dropped)


def _of_module(file: Path, library: str, module: str, dropped: Counter[str]) -> Iterator[Function]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that the source should not have
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        dropped["its module is not Python of this version"] += 1
        return
    times: Counter[str] = Counter()
    for name, f in _named(tree):
        times[name] += 1  # properties, overloads and the branches of an `if` have one name: the second is x#2
        name = name if times[name] == 1 else f"{name}#{times[name]}"
        if not (docstring := ast.get_docstring(f)):
            continue
        text = " ".join(docstring.split("\n\n")[0].split())
        f.body = f.body[1:]
        code = ast.unparse(f) if f.body else ""
        if not TEXT[0] <= len(text) <= TEXT[1]:
            dropped[f"its docstring has not {TEXT[0]} to {TEXT[1]} characters"] += 1
        elif not CODE[0] <= len(code) <= CODE[1]:
            dropped[f"its code has not {CODE[0]} to {CODE[1]} characters"] += 1
        else:
            yield Function(library, module, name, text, code)


def _named(node: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function by its qualified name. One that stands inside another is part of its code, and no pair of its own."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{within}{child.name}", child
        else:
            yield from _named(child, f"{within}{child.name}." if isinstance(child, ast.ClassDef) else within)


def _share_of(f: Function, seed: int) -> float:
    """In [0, 1), the same for all functions of a module on every machine."""
    digest = hashlib.blake2b(f"{seed} {f.library} {f.module}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _body(code: str) -> str:
    """The code without decorators and the name of the function: copies under others are copies."""
    (f,) = ast.parse(code).body
    assert isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
    f.name, f.decorator_list = "_", []
    return ast.unparse(f)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _write(file: Path, rows: Iterable[dict[str, str]]) -> None:
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

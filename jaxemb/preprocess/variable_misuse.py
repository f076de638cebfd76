"""Examples of variable misuse from Python source (Kanade et al., ICML 2020, and Vasic et al., ICLR 2019, before it).

Of a function one use of a local variable is replaced by another local variable of it; the same function as it was is the example
without a bug. A use is where a variable is read, never where it is defined. The right variable must occur elsewhere too, and there
must be another one to put in its place.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxemb.preprocess.python_lexer import Lexeme, LexError, lexemes
from jaxemb.preprocess.python_tokens import pieces_of, without_last_line

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NESTED = (*FUNCTIONS, ast.ClassDef, ast.Lambda, ast.Global, ast.Nonlocal)
"""Scopes of their own, in which a name may be another variable: functions that have such are left out."""


class Function(NamedTuple):
    """A function, and where its local variables occur."""

    words: tuple[tuple[str, ...], ...]
    """The pieces of each lexical token."""
    variables: Mapping[int, str]
    """Places among the words where a local variable occurs, read or defined."""
    uses: tuple[int, ...]
    """Those where one is read."""


class Example(NamedTuple):
    """Places are among the words; -1 and none where there is no bug."""

    words: tuple[tuple[str, ...], ...]
    candidates: tuple[int, ...]
    error: int
    repairs: tuple[int, ...]


def functions(source: str) -> Iterator[str]:
    """The source of each outermost function and method, at the left margin; of text that is no Python none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = lines_of(source)
    stack: list[ast.AST] = [tree]
    while stack:
        for node in ast.iter_child_nodes(stack.pop()):
            if isinstance(node, FUNCTIONS):
                yield textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
            elif isinstance(node, (ast.ClassDef, ast.If, ast.Try)):
                stack.append(node)


def lines_of(source: str) -> list[str]:
    """Lines as Python counts them, with their ends; `str.splitlines` also ends them at form feeds, U+2028 and the like."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", source)


def function(source: str) -> Function | None:
    """The words and the variables of one function; None for what is no function, or has scopes within."""
    try:
        tree = ast.parse(source)
        found = [x for x in without_last_line(list(lexemes(source.rstrip()))) if x.kind != "comment"]
    except (SyntaxError, ValueError, LexError):
        return None
    if len(tree.body) != 1 or not isinstance(tree.body[0], FUNCTIONS):
        return None
    nodes = [node for node in ast.walk(tree.body[0]) if node is not tree.body[0]]
    if any(isinstance(node, NESTED) for node in nodes):
        return None
    local = {node.arg for node in nodes if isinstance(node, ast.arg)}
    local |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    where = {word.start: i for i, word in enumerate(found) if word.kind == "name"}
    starts = np.cumsum([0, *map(len, lines_of(source))])
    variables: dict[int, str] = {}
    uses: list[int] = []
    for node in nodes:
        name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else None
        if name in local:
            at = where.get(_offset(source, starts, node.lineno, node.col_offset))  # pyright: ignore[reportAttributeAccessIssue]
            if at is None:
                return None  # inside an f-string, whose names are no words
            variables[at] = str(name)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                uses.append(at)
    words = tuple(tuple(pieces_of(word)) for word in found)
    return Function(words, dict(sorted(variables.items())), tuple(sorted(uses)))


def misuse(of: Function, rng: np.random.Generator) -> tuple[Example, Example] | None:
    """(with a bug, without): None where no use has another occurrence of its variable and another variable to take its place."""
    names = list(of.variables.values())
    others = {name: sorted({*names} - {name}) for name in names}
    open_to = [at for at in of.uses if names.count(of.variables[at]) > 1 and others[of.variables[at]]]
    if not open_to:
        return None
    at = int(rng.choice(open_to))
    right = of.variables[at]
    wrong = others[right][int(rng.integers(len(others[right])))]
    words = (*of.words[:at], tuple(pieces_of(Lexeme("name", wrong, 0))), *of.words[at + 1 :])
    repairs = tuple(place for place, name in of.variables.items() if name == right and place != at)
    candidates = tuple(of.variables)
    return Example(words, candidates, at, repairs), Example(of.words, candidates, -1, ())


def _offset(source: str, starts: np.ndarray, line: int, column: int) -> int:
    """Characters before a place that `ast` gives, whose columns count bytes."""
    text = source[starts[line - 1] : starts[line]]
    return int(starts[line - 1]) + len(text.encode()[:column].decode())

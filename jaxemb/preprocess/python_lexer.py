"""Python source as lexical tokens, the same under every version of Python.

The standard `tokenize` cuts f-strings into parts from 3.12 on, raises for what earlier versions call an error token, and is another
program. This is the grammar of 3.11's: an f-string is one string. What no version takes is refused: brackets that do not match,
strings that do not end, characters that begin no token, a dedent to no earlier level.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from typing import NamedTuple


class LexError(ValueError):
    """Source that is no Python: says where."""


class Lexeme(NamedTuple):
    """A lexical token."""

    kind: str
    """name, keyword, number, string, op, comment, newline, nl, indent, dedent or end."""
    text: str
    start: int
    """Where in the source it begins."""


PREFIX = r"(?:[bBuUfF]|[rR][bBfF]?|[bBfF][rR])?"
DIGITS = r"[0-9](?:_?[0-9])*"
EXPONENT = rf"[eE][-+]?{DIGITS}"
POINT = rf"(?:{DIGITS}\.(?:{DIGITS})?|\.{DIGITS})(?:{EXPONENT})?|{DIGITS}{EXPONENT}"
WHOLE = r"0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?0)*|[1-9](?:_?[0-9])*"
TOKEN = re.compile(
    rf"(?P<comment>\#[^\r\n]*)|(?P<more>\\\r?\n)"
    rf'|(?P<string>{PREFIX}(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\''
    rf'|"(?:[^\n"\\]|\\(?:\r\n|.))*"|\'(?:[^\n\'\\]|\\(?:\r\n|.))*\'))'
    rf"|(?P<number>(?:{DIGITS}|{POINT})[jJ]|{POINT}|{WHOLE})"
    r"|(?P<line>\r?\n)"
    r"|(?P<op>\*\*=|//=|>>=|<<=|\.\.\.|!=|->|:=|\*\*|//|>>|<<|<=|>=|==|[-+*/%&|^@]=|[-+*/%&|^~<>()\[\]{},:.;@=])"
    r"|(?P<name>\w+)",
    re.DOTALL,
)
OPEN_STRING = re.compile(rf"{PREFIX}['\"]")
PAIRS = {")": "(", "]": "[", "}": "{"}
BLANK = re.compile(r"[ \f\t]*")


def lexemes(code: str) -> Iterator[Lexeme]:
    """The tokens of a source text, `end` as the last one. Raises LexError."""
    at, indents, brackets, fresh, last = 0, [0], [], True, "\n"
    while at < len(code):
        start, at = at, BLANK.match(code, at).end()  # pyright: ignore[reportOptionalMemberAccess]
        if at == len(code):
            break
        if fresh and code[at] not in "#\r\n":
            yield from _indentation(code, start, at, indents)
        found = TOKEN.match(code, at)
        # The first quote of a string that does not end would be taken for an empty one, or its prefix for a name.
        if found is None or (found.lastgroup != "string" and OPEN_STRING.match(code, at)):
            raise LexError(f"line {code.count(chr(10), 0, at) + 1}: {code[at]!r} begins no token")
        kind, text = str(found.lastgroup), found[0]
        if kind == "line":
            yield Lexeme("nl" if fresh or brackets else "newline", text, at)
            fresh = fresh or not brackets
        elif kind != "more":
            if kind == "op":
                _count(text, brackets, code, at)
            yield Lexeme("keyword" if kind == "name" and keyword.iskeyword(text) else kind, text, at)
            fresh = fresh and kind == "comment"
        else:
            fresh = False
        at, last = found.end(), kind
    if brackets or last == "more":
        raise LexError("the source ends inside brackets or after a backslash")
    if last == "comment" and fresh:
        yield Lexeme("nl", "", len(code))
    elif last not in ("line", "\n"):
        yield Lexeme("newline", "", len(code))
    yield from (Lexeme("dedent", "", len(code)) for _ in indents[1:])
    yield Lexeme("end", "", len(code))


def _indentation(code: str, start: int, at: int, indents: list[int]) -> Iterator[Lexeme]:
    """Of a line whose first token begins at `at`; a tab goes to the next multiple of 8."""
    column = 0
    for blank in code[start:at]:
        column = 0 if blank == "\f" else (column // 8 + 1) * 8 if blank == "\t" else column + 1
    if column > indents[-1]:
        indents.append(column)
        yield Lexeme("indent", code[start:at], start)
    while column < indents[-1]:
        if column not in indents:
            raise LexError(f"line {code.count(chr(10), 0, at) + 1}: unindent matches no outer level")
        indents.pop()
        yield Lexeme("dedent", "", at)


def _count(text: str, brackets: list[str], code: str, at: int) -> None:
    if text in "([{":
        brackets.append(text)
    elif text in PAIRS and (not brackets or brackets.pop() != PAIRS[text]):
        raise LexError(f"line {code.count(chr(10), 0, at) + 1}: {text!r} closes no bracket")

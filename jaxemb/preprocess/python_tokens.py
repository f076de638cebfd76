"""Python source as the pieces that CuBERT's vocabulary is learned from (Kanade et al., ICML 2020).

A lexical token gives one piece or more; all but its last end in "^":

    identifier   cut at underscores, which stay with what is before them, then where case says: fooBar_baz -> foo^ Bar_^ baz
    string, comment   cut wherever the class of characters changes (upper, lower, digit, other); white space stands alone
    keyword, operator   as they are;   number   as it is, but for its length
    NEWLINE, NL, DEDENT, the end   a marker each;   INDENT   its marker with the white space

Pieces are at most 15 characters, and "^" and ends of lines in them have names of their own, so that joining gives the tokens again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from jaxemb.preprocess.python_lexer import Lexeme, LexError, lexemes

LONGEST = 15
"""Characters of a piece."""
LONGEST_BLANK = 20
"""Of the same white space in one piece, before pieces are cut."""
MARKERS = {"newline": "___NEWLINE___", "nl": "___NL___", "dedent": "___DEDENT___", "end": "___EOS___"}
INDENT, ERROR, END = "___INDENT___", "___ERROR___", MARKERS["end"]
NAMES = {"^": "___CARET___", "\n": "___NLCHAR___", "\r": "___CR___"}


def python_tokens(code: str, *, comments: bool = False) -> list[str]:
    """The pieces of a source text, one after the other; of what is no Python [___ERROR___, ___EOS___]."""
    return [piece for pieces in python_words(code, comments=comments) for piece in pieces]


def python_words(code: str, *, comments: bool = False) -> list[list[str]]:
    """The same, a list for each lexical token."""
    try:
        found = list(lexemes(code.rstrip()))
    except LexError:
        return [[ERROR], [END]]
    kept = [x for x in without_last_line(found) if comments or x.kind != "comment"]
    return [pieces_of(x) for x in kept]


def without_last_line(found: Sequence[Lexeme]) -> list[Lexeme]:
    """Without the NEWLINE before the end, though DEDENTs stand between."""
    at = len(found) - 1
    while at and found[at - 1].kind == "dedent":
        at -= 1
    return [x for i, x in enumerate(found) if not (i == at - 1 and x.kind == "newline")]


def pieces_of(lexeme: Lexeme) -> list[str]:
    """The pieces of one lexical token."""
    kind, text, _ = lexeme
    if kind in MARKERS:
        return [MARKERS[kind]]
    if kind == "indent":
        return [INDENT + text]
    if kind in ("keyword", "op"):
        return [named(text)]
    parts = {"name": identifier_parts, "number": lambda x: [x]}.get(kind, text_parts)(text)
    cut = [named(part[i : i + LONGEST]) for part in parts for i in range(0, len(part), LONGEST)]
    return [*(f"{piece}^" for piece in cut[:-1]), cut[-1]]


def joined(pieces: Sequence[str]) -> str:
    """The text of a lexical token from its pieces."""
    text = "".join([*(piece[:-1] for piece in pieces[:-1]), pieces[-1]])
    for character, name in NAMES.items():
        text = text.replace(name, character)
    return text


def named(text: str) -> str:
    """With names for the characters that have a meaning among pieces."""
    return re.sub("[\\^\n\r]", lambda found: NAMES[found[0]], text)


def identifier_parts(name: str) -> list[str]:
    """An identifier cut at underscores and by case."""
    found: list[str] = []
    for part, underscores in re.findall(r"([^_]*)(_*)", name):
        words = list(by_case(part))
        if words:
            words[-1] += underscores
        elif underscores:
            words = [underscores]
        found += words
    return found


def by_case(part: str) -> Iterator[str]:
    """A leading run without upper case; one upper case letter with what is not after it; a run of upper case, which ends before
    the last one that something else follows. Digits are not upper case."""
    cases = "".join("U" if c.isupper() else "L" for c in part)
    for found in re.finditer(r"U+(?=UL)|UL+|U+|L+", cases):
        yield part[found.start() : found.end()]


def text_parts(text: str) -> list[str]:
    """A string or a comment cut where the class of characters changes."""
    parts: list[str] = []
    for (kind, _), run in groupby(text, lambda c: (kind_of(c), c if c.isspace() else "")):
        part = "".join(run)
        if kind == "blank":
            parts += [part[i : i + LONGEST_BLANK] for i in range(0, len(part), LONGEST_BLANK)]
        elif kind == "lower" and parts and kind_of(parts[-1][-1]) == "upper":
            last = parts.pop()
            parts += [*([last[:-1]] if last[:-1] else []), last[-1] + part]
        else:
            parts.append(part)
    return parts


def kind_of(character: str) -> str:
    """upper, lower, digit, blank or other."""
    tests = {"upper": str.isupper, "lower": str.islower, "digit": str.isdigit, "blank": str.isspace}
    return next((kind for kind, test in tests.items() if test(character)), "other")

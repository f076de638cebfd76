"""Regular expressions of configs: checked before they run, since Python's engine can take for ever on a line of a stranger's.

What makes it take for ever is a repeat inside a repeat, `(a+)+`, or a choice inside a repeat, `(a|a)*`: refused. Of repeats one
after the other, `.*a.*b`, at most three are taken: paths of parameters have less than two hundred characters.
"""

from __future__ import annotations

import re
import warnings
from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

LONGEST, REPEATS, MANY = 300, 3, 8
"""Characters of a pattern; its repeats that may match more than `MANY` times."""

REPEATED = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


class PatternError(ValueError):
    """No regular expression, or one that could run for ever."""


def check(regex: str) -> str:
    """`regex`, or an error that says what is wrong with it."""
    shown = repr(regex if len(regex) <= 80 else regex[:80] + "...")
    if len(regex) > LONGEST:
        raise PatternError(f"{shown} has {len(regex)} characters, more than {LONGEST}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python may come to read otherwise
            found = parser.parse(regex)
            re.compile(regex)
    except (re.error, RecursionError, OverflowError, FutureWarning, DeprecationWarning) as e:
        raise PatternError(f"{shown} is no regular expression: {e}") from None
    if _repeats(found, shown, inside=False) > REPEATS:
        raise PatternError(
            f"{shown} has more than {REPEATS} repeats such as .*, which together can run for ever; match a part of the path"
        )
    return regex


def _repeats(items: Any, shown: str, *, inside: bool) -> int:
    """The number of repeats of many; refuses what must not stand in one."""
    count = 0
    for op, argument in items:
        repeat = op in REPEATED and argument[1] > 1
        if inside and (repeat or op in (codes.BRANCH, codes.GROUPREF, codes.GROUPREF_EXISTS)):
            what = "a repeat" if repeat else "a choice"
            raise PatternError(f"{shown} has {what} inside of a repeat, which can run for ever; write it without the outer one")
        if repeat:
            count += argument[1] > MANY
            _repeats(argument[2], shown, inside=True)
        else:
            count += sum(_repeats(part, shown, inside=inside) for part in _parts(argument))
    return count


def _parts(argument: Any) -> list[Any]:
    """The sub-patterns that an operation holds, however Python's parser packs them."""
    if isinstance(argument, parser.SubPattern):
        return [argument]
    return [p for a in argument for p in _parts(a)] if isinstance(argument, (tuple, list)) else []

"""The text of a compiled program, read far enough to count in it: computations, their instructions, and how often each runs.

`Compiled.cost_analysis()` sees the body of a loop once. Here a `while` multiplies what its body holds by its number of turns, which
is in the text (`known_trip_count`, or the constant that its condition compares with).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BITS = {"pred": 8, "c64": 64, "c128": 128, "token": 0, "opaque": 0}
"""Of the types whose names do not end in their bits (f32, bf16, s8, u4, f8e4m3fn)."""
SHAPE = re.compile(r"([a-z][a-z0-9]*)\[([\d,<=]*)\](?:\{([^{}]*)\})?")
SPACE = re.compile(r"S\((\d+)\)")
NAME = re.compile(r"%?([\w.\-]+)")
REFERENCE = re.compile(r"%([\w.\-]+)")
OPENED = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
BODIES = re.compile(r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TURNS = re.compile(r'known_trip_count"?:\s*\{\s*"?n"?:\s*"?(\d+)')


class Shape(NamedTuple):
    """An array in a program."""

    dtype: str
    dims: tuple[int, ...]
    space: int
    """0: the memory of the chip (HBM); others lie on the chip itself."""

    @property
    def nbytes(self) -> int:
        bits = BITS.get(self.dtype)
        if bits is None:
            found = re.search(r"\d+", self.dtype)
            bits = int(found[0]) if found else 8
        return -(-math.prod(self.dims) * bits // 8)


class Instruction(NamedTuple):
    """One line."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    """Of what it gives; several where it is a tuple."""
    operands: tuple[str, ...]
    attributes: str
    root: bool

    def attribute(self, pattern: str) -> str | None:
        found = re.search(pattern, self.attributes)
        return found[1] if found else None

    @property
    def called(self) -> list[str]:
        """The computations that it runs."""
        found = BODIES.findall(self.attributes)
        for names in BRANCHES.findall(self.attributes):
            found += [NAME.match(n.strip())[1] for n in names.split(",")]  # pyright: ignore[reportOptionalSubscript]
        return found


class Placed(NamedTuple):
    """An instruction in its program."""

    instruction: Instruction
    computation: str
    times: float
    """How often it runs."""
    fused: bool
    """Whether it is a part of another instruction, whose results alone are stored."""


class Module:
    """A compiled program."""

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        self.unknown: set[str] = set()
        """Loops whose number of turns is not in the text; they count as one turn."""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if line[:1] not in (" ", "}", ""):
                if (found := OPENED.match(line)) is not None:
                    current = self.computations[found[2]] = {}
                    self.entry = found[2] if found[1] else self.entry
            elif (read := parse(line)) is not None:
                current[read.name] = read

    def walk(self) -> Iterator[Placed]:
        """Every instruction that runs, once for each place from which it is reached."""
        yield from self._walk(self.entry, 1.0, False)

    def _walk(self, name: str, times: float, fused: bool) -> Iterator[Placed]:
        for i in self.computations.get(name, {}).values():
            yield Placed(i, name, times, fused)
            if i.opcode == "while":
                body, inner = i.attribute(r"body=%?([\w.\-]+)"), self.turns(i)
                if inner is None:
                    self.unknown.add(i.name)
                yield from self._walk(body or "", times * (1 if inner is None else inner), fused)
            elif i.opcode in ("fusion", "call", "conditional", "async-start"):
                for called in i.called:
                    yield from self._walk(called, times, fused or i.opcode == "fusion")

    def turns(self, loop: Instruction) -> int | None:
        """Of a `while` that counts from 0."""
        if (found := TURNS.search(loop.attributes)) is not None:
            return int(found[1])
        return self._compared(loop.attribute(r"condition=%?([\w.\-]+)") or "")

    def _compared(self, condition: str) -> int | None:
        """The constant in `i < constant`, also where the comparison is fused."""
        body = self.computations.get(condition, {})
        constants = {n: int(v) for n, i in body.items() if i.opcode == "constant" and (v := _number(i)) is not None}
        compares = [i for i in body.values() if i.opcode == "compare" and "direction=LT" in i.attributes]
        fusions = [i for i in body.values() if i.opcode == "fusion" and any(self._is_less(c) for c in i.called)]
        found = {constants[o] for i in (*compares, *fusions) for o in i.operands if o in constants}
        return found.pop() if len(found) == 1 else None

    def _is_less(self, name: str) -> bool:
        return any(i.opcode == "compare" and "direction=LT" in i.attributes for i in self.computations.get(name, {}).values())


def _number(i: Instruction) -> str | None:
    return i.attribute(r"^\((\d+)\)")


def parse(line: str) -> Instruction | None:
    """`%name = type opcode(operands), attributes`; None for what is none."""
    line = line.strip()
    root = line.startswith("ROOT ")
    name, equal, rest = line.removeprefix("ROOT ").partition(" = ")
    if not equal:
        return None
    if rest.startswith("("):
        stop = _closing(rest, 0)
        kind, rest = rest[: stop + 1], rest[stop + 2 :]
    else:
        kind, _, rest = rest.partition(" ")
    opcode, bracket, _ = rest.partition("(")
    if not bracket:
        return None
    stop = _closing(rest, len(opcode))
    inside = rest[len(opcode) : stop + 1]
    operands = () if opcode == "constant" else tuple(REFERENCE.findall(inside))
    attributes = inside if opcode in ("constant", "parameter") else rest[stop + 1 :]
    return Instruction(name.lstrip("%"), opcode, shapes_of(kind), operands, attributes, root)


@functools.lru_cache(maxsize=4096)
def shapes_of(kind: str) -> tuple[Shape, ...]:
    """The arrays of a type, nested or not."""
    found = []
    for dtype, dims, layout in SHAPE.findall(kind):
        space = SPACE.search(layout)
        sizes = tuple(int(d.lstrip("<=")) for d in dims.split(",") if d)
        found.append(Shape(dtype, sizes, int(space[1]) if space else 0))
    return tuple(found)


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for found in re.compile(r"[()]").finditer(text, start):
        depth += 1 if found[0] == "(" else -1
        if depth == 0:
            return found.start()
    return len(text) - 1

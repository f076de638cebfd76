"""Bytes that a compiled program moves between the memory of a chip and the chip.

Each instruction reads its operands and writes its results once, where they lie in memory; what XLA placed on the chip itself
(another memory space) moves nothing. An operand of which a fusion takes a slice counts as that slice, a result that it writes a
slice into likewise: so a loop over layers reads the parameters of one layer a turn.
"""

from __future__ import annotations

import re

from jaxemb.aot.hlo import Instruction, Module

FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast while conditional call after-all partition-id replica-id iota "
    "opt-barrier add-dependency domain".split()
)
"""What moves nothing, or is counted inside."""
SLICES = frozenset(("dynamic-slice", "slice", "gather"))


def traffic(module: Module) -> int | float:
    """Bytes of one run of a program, on one device."""
    return sum(placed.times * moved(placed.instruction, module, placed.computation) for placed in module.walk() if not placed.fused)


def moved(i: Instruction, module: Module, computation: str) -> int | float:
    """Bytes that one instruction reads and writes."""
    if i.opcode in FREE or i.opcode.endswith("-done"):
        return 0
    known = module.computations[computation]
    operands = [known[o].shapes if o in known else () for o in i.operands]
    read: list[int | float] = [_stored(shapes) for shapes in operands]
    if i.opcode == "fusion" and i.called:
        return _of_fusion(i, module.computations.get(i.called[0], {}), read)
    if i.opcode in SLICES:
        return 2 * _stored(i.shapes) if read and read[0] else _stored(i.shapes)
    if i.opcode == "dynamic-update-slice":
        return 2 * sum(s.nbytes for s in operands[1]) if len(operands) > 1 and _stored(i.shapes) else 0
    if i.opcode == "copy-start":  # (to, from, context)
        return _stored(i.shapes[:2])
    if i.opcode == "slice-start":  # ((from), to, context): as much is read as is written
        size = i.shapes[1].nbytes if len(i.shapes) > 1 else 0
        return size * sum(not s.space for s in i.shapes[:2])
    if i.opcode.endswith("-start"):
        return sum(read) + _stored(i.shapes[len(operands) :])
    return sum(read) + _stored(i.shapes)


def _stored(shapes: tuple) -> int:
    return sum(s.nbytes for s in shapes if s.space == 0)


def _of_fusion(i: Instruction, body: dict[str, Instruction], read: list[int | float]) -> int | float:
    written = _results(body)
    results = [(out.nbytes if size is None else size) * (out.space == 0) for out, size in zip(i.shapes, _fitted(written, i))]
    for out, operand in _aliases(i):  # the same memory, handed through, unless a slice of it is written
        if out < len(results) and operand < len(read):
            size = written[out] if out < len(written) else None
            results[out] = (size or 0) * (i.shapes[out].space == 0)
            read[operand] = 0
    for name, inner in body.items():
        if inner.opcode == "parameter" and (k := _place(inner)) is not None and k < len(read) and read[k]:
            read[k] = min(read[k], _used(name, body))
    return sum(read) + sum(results)


def _used(parameter: str, body: dict[str, Instruction]) -> int | float:
    """Bytes of a parameter that a fusion looks at: of slices what they give, of what is written into nothing."""
    total = 0.0
    for user in body.values():
        if parameter not in user.operands:
            continue
        if user.opcode in SLICES and user.operands[0] == parameter:
            total += sum(s.nbytes for s in user.shapes)
        elif user.opcode == "dynamic-update-slice" and user.operands[0] == parameter:
            continue
        elif user.opcode == "bitcast":
            total += _used(user.name, body)
        else:
            return float("inf")
    return total


def _results(body: dict[str, Instruction]) -> list[int | float | None]:
    """For each result of a fusion the bytes that are written where that is a slice of it, else None."""
    root = next((x for x in body.values() if x.root), None)
    if root is None:
        return []
    parts = [body.get(o) for o in root.operands] if root.opcode == "tuple" else [root]
    return [_written(part, body) for part in parts]


def _written(part: Instruction | None, body: dict[str, Instruction]) -> int | float | None:
    while part is not None and part.opcode == "bitcast" and part.operands:
        part = body.get(part.operands[0])
    if part is None or part.opcode != "dynamic-update-slice" or len(part.operands) < 2:
        return None
    update = body.get(part.operands[1])
    return None if update is None else sum(s.nbytes for s in update.shapes)


def _fitted(written: list[int | float | None], i: Instruction) -> list[int | float | None]:
    return written if len(written) == len(i.shapes) else [None] * len(i.shapes)


def _aliases(i: Instruction) -> list[tuple[int, int]]:
    """(result, operand) that share memory."""
    text = i.attribute(r"output_to_operand_aliasing=\{(.*?\)) ?\}") or ""
    return [(int(out or 0), int(operand)) for out, operand in re.findall(r"\{(\d*)\}: \((\d+), \{\}", text)]


def _place(parameter: Instruction) -> int | None:
    number = parameter.attribute(r"^\((\d+)\)")
    return None if number is None else int(number)

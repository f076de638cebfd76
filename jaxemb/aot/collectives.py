"""What chips send each other in a compiled program: kind, bytes, mesh axes, and how often.

`size` is what a group of p chips works on, and what one of them sends, on a ring, follows from it:

    all-gather, reduce-scatter   (p - 1) / p size      of the whole array
    all-reduce                   2 (p - 1) / p size
    all-to-all                   (p - 1) / p size      of what one chip holds
    collective-permute           size                  of what one chip holds
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxemb.aot.hlo import Instruction, Module, Placed

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
STARTS = {f"{kind}-start": kind for kind in KINDS}
Group = tuple[int, ...]


class Collective(NamedTuple):
    """All of one kind and size over the same groups."""

    kind: str
    axes: tuple[str, ...]
    """Of the mesh, over which the members of a group differ."""
    size: int
    """Bytes, see the module."""
    group: Group
    """Its first group: places in the mesh, row by row."""
    count: float

    @property
    def sent(self) -> float:
        """Bytes that a chip sends each time."""
        p = len(self.group)
        share = (p - 1) / p
        factor = {"all-reduce": 2 * share, "collective-permute": 1.0, "collective-broadcast": 1.0}
        return self.size * factor.get(self.kind, share)


def collectives(module: Module, mesh: Mapping[str, int]) -> list[Collective]:
    """Those of a program, the largest traffic first. `mesh`: {axis: size}, in the order of the devices."""
    count: dict[tuple[str, tuple[str, ...], int, Group], float] = defaultdict(float)
    seen: set[tuple[str, ...]] = set()
    for placed in module.walk():
        i = placed.instruction
        kind = STARTS.get(i.opcode, i.opcode)
        if kind not in KINDS or _again(placed, seen):
            continue
        groups = groups_of(i, math.prod(mesh.values()))
        group = max(groups, key=len, default=())
        if len(group) < 2:
            continue
        if kind == "all-reduce" and placed.computation.startswith("all-reduce-scatter"):  # of which each keeps its part
            kind = "reduce-scatter"
        count[kind, axes_of(groups, mesh), size_of(i, kind, len(group), placed.computation), group] += placed.times
    found = [Collective(*key, times) for key, times in count.items()]
    return sorted(found, key=lambda c: -c.sent * c.count)


def _again(placed: Placed, seen: set[tuple[str, ...]]) -> bool:
    """A TPU spreads one collective over several fusions, each of which holds a copy of it: it counts once."""
    i = placed.instruction
    chain = i.attribute(r'chain_id="?(\d+)')
    if chain is None or "async_collective_fusion_config" not in i.attributes:
        return False
    key = (i.opcode, i.attribute(r"channel_id=(\d+)") or i.name, chain)
    if key in seen:
        return True
    seen.add(key)
    return False


def size_of(i: Instruction, kind: str, members: int, computation: str) -> int:
    """Bytes, from the types in the text."""
    shapes = i.shapes
    if i.opcode.endswith("-start") and kind != "all-reduce":  # (what goes in, what comes out, ...)
        arrays = [s for s in shapes if s.dims or s.dtype not in ("u32", "s32")]
        half = len(arrays) // 2
        shapes = tuple(arrays[half:]) if half else tuple(arrays)
    total = sum(s.nbytes for s in shapes)
    whole = kind == "reduce-scatter" and not computation.startswith("all-reduce-scatter")
    return total * members if whole else total


# ---- who talks to whom -----------------------------------------------------------------------------------------------------------


def groups_of(i: Instruction, devices: int) -> list[Group]:
    """The groups of devices, in any of the forms in which XLA writes them; pairs of a permutation are groups of two."""
    if (pairs := i.attribute(r"source_target_pairs=\{(\{[\d,{} ]*\})\}")) is not None:
        return [g for g in _listed(pairs) if g[0] != g[1]]
    if (listed := i.attribute(r"replica_groups=\{(\{[\d,{} ]*\})\}")) is not None:
        return _listed(listed)
    if (found := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", i.attributes)) is not None:
        ids = np.arange(devices).reshape(_numbers(found[2]))
        ids = ids.transpose(_numbers(found[3])) if found[3] else ids
        return [tuple(map(int, row)) for row in ids.reshape(_numbers(found[1]))]
    if (found := re.search(r"replica_groups=(?:@\w+ = )?(?:<)?mesh\[([^\]]*)\](?: \{([^}]*)\})?", i.attributes)) is not None:
        return _of_mesh(found[1], found[2], devices)
    return [tuple(range(devices))]  # none written: all of them


def _of_mesh(axes: str, chosen: str | None, devices: int) -> list[Group]:
    """mesh['a'=2,'b'=4] {'b'}: groups along b; all axes where none is named."""
    sizes = {name: int(n) for name, n in re.findall(r"'([^']+)'=(\d+)", axes)}
    names = list(sizes)
    along = re.findall(r"'([^']+)'", chosen) if chosen is not None else names
    if math.prod(sizes.values()) != devices or not set(along) <= set(names):
        return []
    ids = np.arange(devices).reshape(tuple(sizes.values()))
    kept = [d for d, name in enumerate(names) if name not in along]
    size = math.prod(sizes[name] for name in along)
    order = (*kept, *(names.index(name) for name in along))
    return [tuple(map(int, row)) for row in ids.transpose(order).reshape(-1, size)]


def _listed(text: str) -> list[Group]:
    return [_numbers(group) for group in re.findall(r"\{([\d, ]+)\}", text)]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(x) for x in text.split(","))


def axes_of(groups: Sequence[Group], mesh: Mapping[str, int]) -> tuple[str, ...]:
    """The axes along which members of a group differ."""
    shape = tuple(mesh.values())
    varies = np.zeros(len(shape), bool)
    for group in groups:
        places = np.stack(np.unravel_index(np.asarray(group), shape))
        varies |= (places != places[:, :1]).any(1)
    return tuple(axis for axis, moves in zip(mesh, varies) if moves)

"""The least time that a program takes on a chip, by what each of its parts can do at best.

    time >= max(compute, memory, communication over each mesh axis)
    compute = FLOPs / (chips peak),   memory = bytes moved / bandwidth,   communication = bytes sent / bandwidth of the links
    MFU <= model FLOPs / (chips peak time)

All of it is assumed to overlap, and each part to run at its published peak: no step is faster, most are slower, where
the counts are right. Causal and windowed attention is counted too high (`ops/flops.py`): with it the line of compute is no bound.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from jaxemb.aot.chips import Chip
from jaxemb.aot.collectives import Collective
from jaxemb.aot.topology import Topology


class Roofline(NamedTuple):
    """Seconds of one run."""

    compute: float
    memory: float
    axes: dict[str, float]
    """Communication by mesh axes, "fsdp" or "data+fsdp"."""

    @property
    def terms(self) -> dict[str, float]:
        return {"compute": self.compute, "memory": self.memory} | {f"{axis} links": t for axis, t in self.axes.items()}

    @property
    def seconds(self) -> float:
        return max(self.terms.values())

    @property
    def bound(self) -> str:
        """What it waits for."""
        return max(self.terms, key=lambda name: self.terms[name])


def roofline(executed: float, moved: float, sent: Sequence[Collective], topology: Topology, coords: Sequence[tuple]) -> Roofline:
    """`executed`: FLOPs of all chips; `moved`: bytes of one device; `coords`: of the devices in the order of the mesh."""
    chip = topology.chip
    assert chip is not None
    axes: dict[str, float] = defaultdict(float)
    for c in sent:
        axes["+".join(c.axes)] += c.count * seconds(c, chip, topology.shape, coords)
    return Roofline(executed / (topology.chips * chip.peak), moved * chip.devices / chip.bandwidth, dict(axes))


def seconds(c: Collective, chip: Chip, shape: tuple[int, ...], coords: Sequence[tuple]) -> float:
    """Of one collective: the chips of a group pass pieces around, in both directions where a dimension is a ring, and along all
    dimensions of the torus at once over which the group extends."""
    members = [coords[d] for d in c.group]
    spans = [len({m[d] for m in members}) > 1 for d in range(len(shape))]
    if not any(spans):  # the devices of one chip
        return 0.0
    ways = sum((2 if ring else 1) for ring, spanned in zip(chip.wraps(shape), spans) if spanned)
    carried = ways * chip.link / chip.devices
    p = len(c.group)
    if c.kind == "all-to-all":  # a piece for a chip far away passes those between: a quarter of gathering all
        return c.size * max((p - 1) / p, p / 4) / carried
    if c.kind == "collective-permute":  # one way each; products in windows send as much the other way at the same time
        return c.sent / (2 * sum(spans) * chip.link / chip.devices)
    return c.sent / carried

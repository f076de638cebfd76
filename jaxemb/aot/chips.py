"""What is published of each chip: the denominators of a roofline.

All figures are of one chip, also where a chip shows itself as two devices. Peaks are dense bfloat16. `usable` is what the compiler
lets a program have: the rest of the memory is the runtime's. It is read off libtpu 0.0.42.1, which refuses a larger program and
says how much there is ("exceeds available HBM (15.75G)").
"""

from __future__ import annotations

import dataclasses

from jaxemb.ops.peaks import PEAKS

GIB = 2**30
DOCS = "Google Cloud TPU documentation, page"


@dataclasses.dataclass(frozen=True)
class Chip:
    """Bytes and bytes a second, FLOP/s."""

    name: str
    kind: str
    """How libtpu calls the chip in the name of a topology."""
    peak: int | float
    """bfloat16 FLOP/s, as `jaxemb.ops.peaks` has them of a device."""
    usable: int | float
    """Bytes of memory that a program can have."""
    bandwidth: float
    """Bytes a second between memory and chip."""
    link: float
    """Bytes a second of one link to a neighbour, in one direction."""
    axes: int
    """Dimensions of the torus; a chip has two links in each."""
    source: str
    devices: int = 1
    """As how many devices JAX shows a chip."""
    cores: int = 1
    """By what the names of slices count: v5p-64 has 64 cores, which are 32 chips."""
    whole: int = 4
    """A dimension of a torus closes into a ring where it is a multiple of this (three dimensions: where all are)."""
    options: tuple[tuple[str, str], ...] = ()
    """What libtpu is told beside the topology."""

    def wraps(self, shape: tuple[int, ...]) -> tuple[bool, ...]:
        """Of a slice of this shape, which dimensions are rings and not lines."""
        closed = tuple(d % self.whole == 0 for d in shape)
        return closed if self.axes < 3 else (all(closed),) * len(shape)


_ALL = (
    # v4: 275 TFLOP/s, 32 GiB, 1200 GB/s: page "TPU v4". Links: 6 at 50 GB/s, Jouppi et al., "TPU v4", 2023, table 4. Two cores a
    # chip that JAX shows as one device (megacore). A torus from 4x4x4 on: same page.
    Chip(
        "v4", "v4", 1e12 * PEAKS["TPU v4"], 30.75 * GIB, 1200e9, 50e9, 3, f"{DOCS} TPU v4; links: Jouppi et al. 2023", cores=2,
        options=(("chip_config_name", "megacore"),),
    ),
    # v5e: 197 TFLOP/s, 16 GB, 819 GB/s, 400 GB/s both ways over 4 ports: page "TPU v5e". Rings where a side has
    # 16 chips: "How to scale your model" (Austin et al. 2025), part 2.
    Chip(
        "v5e", "v5e", 1e12 * PEAKS["TPU v5e"], 15.75 * GIB, 819e9, 50e9, 2,
        f"{DOCS} TPU v5e; rings: How to scale your model, part 2", whole=16,
    ),
    # v5p: 459 TFLOP/s, 95 GiB, 2765 GB/s, 1200 GB/s both ways over 6 links: page "TPU v5p". libtpu allows
    # 95.74 GiB, more than is published.
    Chip(
        "v5p", "v5p", 1e12 * PEAKS["TPU v5p"], 95.74 * GIB, 2765e9, 100e9, 3, f"{DOCS} TPU v5p", cores=2,
        options=(("chip_config_name", "megacore"),),
    ),
    # v6e: 918 TFLOP/s, 32 GB, 1638 GB/s, 800 GB/s both ways over 4 ports: page "TPU v6e". Rings as v5e.
    Chip("v6e", "v6e", 1e12 * PEAKS["TPU v6e"], 31.25 * GIB, 1638e9, 100e9, 2, f"{DOCS} TPU v6e; rings: as v5e", whole=16),
    # tpu7x: 2307 TFLOP/s, 192 GiB: page "TPU7x (Ironwood)". *Unverified*, from memory of that page: 7380 GB/s, 1200 GB/s both ways
    # over 6 links. A chip is two devices, with 94.75 GiB each.
    Chip(
        "tpu7x", "tpu7x", 2e12 * PEAKS["TPU7x"], 189.5 * GIB, 7380e9, 100e9, 3,
        f"{DOCS} TPU7x (Ironwood); bandwidths and links unverified", devices=2, cores=2,
    ),
)  # fmt: skip
CHIPS = {chip.name: chip for chip in _ALL}
OTHER_NAMES = {"v5litepod": "v5e", "v5lite": "v5e", "trillium": "v6e", "ironwood": "tpu7x", "v7x": "tpu7x"}

SLICES = {
    # Pages "TPU v5e" and "TPU v6e", configurations: the number counts chips.
    **{
        f"{chip}-{n}": (chip, shape)
        for chip in ("v5e", "v6e")
        for n, shape in {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}.items()
    },
    # Pages "TPU v4" and "TPU v5p": the number counts cores, two a chip.
    **{
        f"{chip}-{2 * a * b * c}": (chip, (a, b, c))
        for chip in ("v4", "v5p")
        for a, b, c in ((2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4), (4, 4, 4), (4, 4, 8), (4, 8, 8), (8, 8, 8), (8, 8, 16))
    },
}
"""Slices by the names under which they are rented."""

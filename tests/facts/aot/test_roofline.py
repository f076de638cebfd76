"""Least times by hand."""

import pytest

from jaxemb.aot.chips import CHIPS
from jaxemb.aot.collectives import Collective
from jaxemb.aot.program import bytes_needed
from jaxemb.aot.roofline import roofline
from jaxemb.aot.topology import Topology


def grid(*shape):
    x = [()]
    for n in shape:
        x = [(*p, i) for p in x for i in range(n)]
    return x


def slice_of(chip, *shape):
    return Topology("it", CHIPS[chip], shape, tuple(grid(*shape)))


def test_compute_memory_and_the_larger_of_them():
    found = roofline(8 * 197e12 * 2e-3, 819e9 * 3e-3, [], slice_of("v5e", 2, 4), grid(2, 4))
    assert found.compute == pytest.approx(2e-3) and found.memory == pytest.approx(3e-3)
    assert found.seconds == pytest.approx(3e-3) and found.bound == "memory"


ROW, ALL = tuple(range(16)), tuple(range(256))


@pytest.mark.parametrize(
    "kind, group, expected",
    [
        ("all-gather", ROW, 1e9 * 15 / 16 / (2 * 50e9)),  # a ring: both directions
        ("all-gather", ALL, 1e9 * 255 / 256 / (4 * 50e9)),  # two rings at once
        ("all-gather", ROW[:8], 1e9 * 7 / 8 / (2 * 50e9)),
        ("reduce-scatter", ROW, 1e9 * 15 / 16 / (2 * 50e9)),
        ("all-reduce", ROW, 2e9 * 15 / 16 / (2 * 50e9)),
        ("all-to-all", ROW, 1e9 * 16 / 4 / (2 * 50e9)),
        ("collective-permute", (0, 1), 1e9 / (2 * 50e9)),
    ],
)
def test_a_collective_on_a_pod_of_v5e(kind, group, expected):
    c = Collective(kind, ("fsdp",), 10**9, group, 3.0)
    found = roofline(0.0, 0.0, [c], slice_of("v5e", 16, 16), grid(16, 16))
    assert found.axes == {"fsdp": pytest.approx(3 * expected)} and found.bound == "fsdp links"


def test_a_line_has_half_the_links_of_a_ring():
    c = Collective("all-gather", ("fsdp",), 10**9, (0, 1, 2, 3), 1.0)
    assert roofline(0.0, 0.0, [c], slice_of("v5e", 2, 4), grid(2, 4)).axes["fsdp"] == pytest.approx(0.75e9 / 50e9)


def test_axes_add_up_apart():
    one, two = (Collective("all-reduce", (axis,), 10**6, group, 2.0) for axis, group in (("data", (0, 4)), ("model", (0, 1))))
    found = roofline(0.0, 0.0, [one, two, one], slice_of("v5e", 2, 4), grid(2, 4))
    assert found.axes["data"] == pytest.approx(2 * found.axes["model"])


def test_two_devices_of_a_chip_share_its_memory_and_need_no_link():
    chip = slice_of("tpu7x", 2, 2, 1)
    coords = [p for p in grid(2, 2, 1) for _ in range(2)]
    inside = Collective("all-reduce", ("model",), 10**9, (0, 1), 1.0)
    found = roofline(0.0, 7380e9 / 2, [inside], chip, coords)
    assert found.memory == pytest.approx(1.0) and found.axes == {"model": 0.0}


@pytest.mark.parametrize(
    "message, needed",
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. Exceeded", 20.5 * 2**30),
        ("the total memory required for HLO temporaries (521.71G) exceeds available HBM (15.75G).", 521.71 * 2**30),
        ("something else", None),
    ],
)
def test_what_the_compiler_says_that_it_needs(message, needed):
    assert bytes_needed(message) == needed

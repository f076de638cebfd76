"""Names of slices, and what is said of wrong ones."""

import importlib.util

import pytest

from jaxemb.aot import topology as there
from jaxemb.aot.chips import CHIPS, SLICES
from jaxemb.config import ConfigError


@pytest.mark.parametrize(
    "name, chip, shape",
    [
        ("v5e:4x8", "v5e", (4, 8)),
        ("v5e-8", "v5e", (2, 4)),
        ("v5e-64", "v5e", (8, 8)),
        ("V5E-8", "v5e", (2, 4)),
        ("v5litepod-256", "v5e", (16, 16)),
        ("v5p-64", "v5p", (2, 4, 4)),  # cores
        ("v6e:2x2", "v6e", (2, 2)),
        ("tpu7x:2x2x1", "tpu7x", (2, 2, 1)),
    ],
)
def test_names(name, chip, shape):
    assert there.named(name) == (CHIPS[chip], shape)


def test_the_cpu_has_no_published_figures():
    found = there.topology("cpu:8")
    assert found.chip is None and len(found.devices) == found.chips == 8


def test_slices_have_as_many_cores_or_chips_as_their_names_say():
    for name, (chip, shape) in SLICES.items():
        count = 1
        for d in shape:
            count *= d
        assert int(name.rpartition("-")[2]) == count * (1 if chip in ("v5e", "v6e") else 2)
        assert len(shape) == CHIPS[chip].axes


@pytest.mark.parametrize(
    "name, answer",
    [
        ("v9:2x2", "there is no chip 'v9'; valid: cpu, tpu7x, v4, v5e, v5p, v6e; write v5e:4x8"),
        ("v5r:2x2", "there is no chip 'v5r'; did you mean"),
        ("v5e-7", "slices of this chip are v5e-1, v5e-4, v5e-8, v5e-16, v5e-32, v5e-64, v5e-128, v5e-256"),
        ("tpu7x-8", "slices of tpu7x have no such names"),
        ("v5e:2x2x1", "the torus of v5e has 2 dimensions, as in v5e:2x4"),
        ("v5p:4x4", "the torus of v5p has 3 dimensions, as in v5p:2x2x2"),
        ("v5e:0x4", "the torus of v5e has 2 dimensions"),
        ("cpu:many", "the CPU has a number of simulated devices, as in cpu:8"),
        ("cpu:64", "comes too late: JAX has already started with 8 devices"),
    ],
)
def test_wrong_names(name, answer):
    with pytest.raises(ConfigError) as e:
        there.topology(name)
    assert answer in str(e.value) and name in str(e.value)


def test_without_libtpu_one_line_says_how_to_install_it(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "libtpu" else real(name, *a))
    with pytest.raises(ConfigError) as e:
        there.topology("v5e:2x2")
    assert "\n" not in str(e.value) and str(e.value).endswith("pip install 'jaxemb[tpu-aot]'")


def test_rings_are_where_the_torus_closes():
    assert CHIPS["v5e"].wraps((8, 16)) == (False, True)
    assert CHIPS["v5p"].wraps((4, 4, 8)) == (True,) * 3 and CHIPS["v5p"].wraps((2, 4, 4)) == (False,) * 3


def test_every_figure_of_a_chip_is_one_and_has_a_source():
    for chip in CHIPS.values():
        assert min(chip.peak, chip.usable, chip.bandwidth, chip.link) > 0 and chip.source
        assert chip.peak / chip.bandwidth < 600  # FLOP a byte: of the published chips 200 to 560

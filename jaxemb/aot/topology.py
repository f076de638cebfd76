"""From the name of a slice to devices that can be compiled for, without one of them being here.

v5e:4x8        4 x 8 chips; v4, v5p and tpu7x have three dimensions: v5p:2x4x4
v5e-32         a slice by the name under which it is rented; v4-64 and v5p-64 count cores, two a chip
cpu:8          eight simulated devices of this machine's CPU
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from jaxemb.aot.chips import CHIPS, OTHER_NAMES, SLICES, Chip
from jaxemb.config import ConfigError, suggest

INSTALL = "pip install 'jaxemb[tpu-aot]'"
FORMS = "write v5e:4x8, v5p:2x4x4, a slice such as v5e-64, or cpu:8"
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # this is no TPU VM that could be asked what it is
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # another process may compile at the same time
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",  # of any kind: these two only keep libtpu from warning that it knows none
    "TPU_WORKER_HOSTNAMES": "localhost",
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice, and its devices in JAX's order."""

    name: str
    chip: Chip | None
    """None: the CPU, of which nothing is published."""
    shape: tuple[int, ...]
    """Chips along each dimension of the torus."""
    devices: tuple[Any, ...]

    @property
    def chips(self) -> int:
        return math.prod(self.shape)


def named(text: str) -> tuple[Chip | None, tuple[int, ...]]:
    """(chip, shape) of a name; nothing is loaded."""
    text = text.lower()
    kind, _, rest = text.partition(":")
    if not rest and text.partition("-")[1]:
        kind, _, count = text.rpartition("-")
        kind = OTHER_NAMES.get(kind, kind)
        _known(kind, text)
        if (found := SLICES.get(f"{kind}-{count}")) is None:
            valid = [name for name in SLICES if name.startswith(f"{kind}-")]
            raise ConfigError(f"--topology {text}: {_choices(valid) or f'slices of {kind} have no such names'}; {FORMS}")
        return CHIPS[found[0]], found[1]
    kind = OTHER_NAMES.get(kind, kind)
    _known(kind, text)
    if kind == "cpu":
        if not rest.isdecimal() or not 1 <= int(rest) <= 4096:
            raise ConfigError(f"--topology {text}: the CPU has a number of simulated devices, as in cpu:8")
        return None, (int(rest),)
    chip = CHIPS[kind]
    shape = tuple(map(int, rest.split("x"))) if re.fullmatch(r"[1-9]\d{0,3}(x[1-9]\d{0,3})*", rest) else ()
    if len(shape) != chip.axes:
        example = "x".join(map(str, next((s for c, s in SLICES.values() if c == kind and math.prod(s) > 4), (2, 2, 1))))
        raise ConfigError(f"--topology {text}: the torus of {kind} has {chip.axes} dimensions, as in {kind}:{example}")
    return chip, shape


def _known(kind: str, text: str) -> None:
    valid = (*CHIPS, "cpu")
    if kind not in valid:
        raise ConfigError(f"--topology {text}: there is no chip {kind!r}{suggest(kind, valid)}; {FORMS}")


def _choices(names: Sequence[str]) -> str:
    return f"slices of this chip are {', '.join(names)}" if names else ""


def prepare(names: Sequence[str]) -> None:
    """The environment in which all of these can be compiled for; before JAX starts."""
    shapes = [named(name) for name in names]
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax.config.update("jax_platforms", "cpu")
    simulated = max((shape[0] for chip, shape in shapes if chip is None), default=0)
    flags = os.environ.get("XLA_FLAGS", "")
    if simulated and "--xla_force_host_platform_device_count" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={simulated}".strip()


def topology(text: str) -> Topology:
    """The slice of this name, to compile for."""
    text = text.lower()
    chip, shape = named(text)
    if chip is None:
        devices = jax.devices("cpu")
        if len(devices) < shape[0]:
            raise ConfigError(f"--topology {text} comes too late: JAX has already started with {len(devices)} devices")
        return Topology(text, None, shape, tuple(devices[: shape[0]]))
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError(f"--topology {text}: compiling for TPUs needs libtpu, on any Linux machine: {INSTALL}")
    return Topology(text, chip, shape, tuple(_described(text, chip, shape)))


def _described(text: str, chip: Chip, shape: tuple[int, ...]) -> Sequence[Any]:
    from jax.experimental import topologies

    name = f"{chip.kind}:{'x'.join(map(str, shape))}"
    options: dict[str, Any] = dict(chip.options)
    if math.prod(shape) < 4:  # a host holds 2 x 2 chips unless told otherwise
        options["chips_per_host_bounds"] = (*shape, *(1,) * (3 - len(shape)))
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name, **options).devices
    except RuntimeError as e:
        why = next(iter(str(e).splitlines()), type(e).__name__)[:300]
        raise ConfigError(f"--topology {text}: libtpu knows no such slice: {why}; {FORMS}") from e

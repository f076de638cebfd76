"""Where arrays live: a mesh with the axes data, fsdp and model, and rules from parameter paths to placements.

A rule is one of
    "replicate"      a full copy on every device
    "fsdp"           the largest dimension that divides is cut over the fsdp axis; gathered by XLA where it is used
    "fsdp,model"     the axis of each dimension, "-" for none; a shorter list is meant for the last dimensions
Batches are cut over data and fsdp together. On one device every rule means the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError, suggest
from jaxemb.train.optim import map_paths

AXES = ("data", "fsdp", "model")
ROWS = ("data", "fsdp")
"""The axes over which a batch is cut."""


def make_mesh(sizes: Mapping[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of these sizes; -1 stands for all devices that are left, an axis that is not named has size 1."""
    devices = list(jax.devices() if devices is None else devices)
    for name, size in sizes.items():
        if name not in AXES:
            raise ConfigError(f"mesh: there is no axis {name!r}{suggest(name, AXES)}")
        if size < 1 and size != -1:
            raise ConfigError(f"mesh.{name} must be at least 1, or -1 for all devices that are left, not {size}")
    shape = [sizes.get(axis, 1) for axis in AXES]
    if shape.count(-1) > 1:
        raise ConfigError(f"mesh={dict(sizes)}: only one axis can be -1")
    fixed = math.prod(s for s in shape if s != -1)
    if len(devices) % fixed if -1 in shape else fixed > len(devices):
        raise ConfigError(f"mesh={dict(sizes)} does not fit {len(devices)} devices")
    shape = [len(devices) // fixed if s == -1 else s for s in shape]
    used = devices[: math.prod(shape)]
    if len(used) < len(devices) and jax.process_count() > 1:
        raise ConfigError(f"mesh={dict(sizes)} leaves {len(devices) - len(used)} of {len(devices)} devices idle")
    return Mesh(np.array(used).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def row_shards(mesh: Mesh) -> int:
    """Into how many pieces a batch is cut."""
    return math.prod(mesh.shape[a] for a in ROWS)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P(ROWS))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def shardings(tree: Any, rules: Sequence[tuple[str, str]], mesh: Mesh) -> Any:
    """The placement of every array of a tree (of arrays or shapes), by the first rule whose regex finds its path.

    The state of an optimiser holds copies of the parameter tree, so the same rules find them.
    """

    def place(path: str, x: Any) -> NamedSharding:
        rule = next((rule for regex, rule in rules if re.search(regex, path)), "replicate")
        return NamedSharding(mesh, partition(rule, tuple(x.shape), mesh, path))

    return map_paths(place, tree)


def partition(rule: str, shape: tuple[int, ...], mesh: Mesh, path: str = "") -> P:
    """The PartitionSpec of an array of this shape."""
    if rule == "replicate" or not shape:
        return P()
    if rule == "fsdp":
        parts = mesh.shape["fsdp"]
        fitting = [i for i, n in enumerate(shape) if n % parts == 0 and n >= parts]
        if parts == 1 or not fitting:
            return P()
        cut = max(fitting, key=lambda i: shape[i])
        return P(*("fsdp" if i == cut else None for i in range(len(shape))))
    names = [None if n.strip() == "-" else n.strip() for n in rule.split(",")]
    if bad := [n for n in names if n and n not in AXES]:
        raise ConfigError(f"sharding rule {rule!r}{suggest(str(bad[0]), ('replicate', *AXES, '-'))}")
    names = ([None] * len(shape) + names)[-len(shape) :]
    for n, name in zip(shape, names, strict=True):
        if name and n % mesh.shape[name]:
            raise ConfigError(
                f"sharding rule {rule!r} for {path}: {n} is not divisible by the {mesh.shape[name]} devices of {name}"
            )
    return P(*names)

"""Where arrays live: the mesh of devices, the placement of each parameter, and the split of the batch.

Three axes, all always there (most of size 1):

    data    copies of the model, each with its own rows of the batch
    fsdp    its own rows of the batch as well, and a share of every parameter, gathered where it is used
    model   the same rows, and a share of the inputs or outputs of a matrix (tensor parallelism)

How a parameter is cut, `sharding` of an experiment, is said in `rules.py`. XLA derives the communication from the placement.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxemb.config import ConfigError, suggest
from jaxemb.ops.over_devices import ROWS
from jaxemb.ops.paths import by_path, map_paths, parameter_paths
from jaxemb.train.rules import AXES, Meshes, Rules, check_found, placements


def make_mesh(axes: Mapping[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a config such as {"data": -1, "model": 2}; -1 takes all devices that the others leave."""
    devices = list(jax.devices() if devices is None else devices)
    sizes = _sizes(axes, len(devices))
    wanted = math.prod(sizes)
    # Fewer devices than there are is a wish that one process can fulfil; with several, some would have nothing to do.
    if wanted > len(devices) or (wanted < len(devices) and jax.process_count() > 1):
        raise ConfigError(f"mesh={dict(axes)} asks for {wanted} devices, there are {len(devices)}; {{'data': -1}} takes them all")
    return jax.make_mesh(tuple(sizes), AXES, devices=devices[:wanted], axis_types=(AxisType.Auto,) * len(AXES))


def planned_mesh(axes: Mapping[str, int]) -> AbstractMesh | None:
    """The mesh of a config for its shapes alone: of as many devices as its sizes say, be they here or not; -1 takes those that are
    here, None where those are too few."""
    if -1 in axes.values() and jax.device_count() % math.prod(n for n in axes.values() if n > 0):
        return None
    return AbstractMesh(tuple(_sizes(axes, jax.device_count())), AXES)


def _sizes(axes: Mapping[str, int], devices: int) -> list[int]:
    """Of all axes."""
    for axis, size in axes.items():
        if axis not in AXES:
            raise ConfigError(f"mesh: there is no axis {axis!r}{suggest(axis, AXES)}")
        if size < 1 and size != -1:
            raise ConfigError(f"mesh.{axis} must be at least 1, or -1 for all devices that are left, not {size}")
    sizes = [axes.get(axis, 1) for axis in AXES]
    fixed = math.prod(s for s in sizes if s != -1)
    if sizes.count(-1) > 1:
        raise ConfigError(f"mesh={dict(axes)}: only one axis can be -1")
    if -1 in sizes and devices % fixed:
        raise ConfigError(f"mesh={dict(axes)}: {devices} devices cannot be divided by {fixed}")
    return [devices // fixed if s == -1 else s for s in sizes]


# ---- parameters ------------------------------------------------------------------------------------------------------------------


def shardings(params: Any, rules: Rules, mesh: Meshes, scanned: Collection[str] = ()) -> Any:
    """The tree of NamedSharding that the rules give to a tree of parameters (arrays or shapes), `scanned` stacks among them."""
    check_found(rules, parameter_paths(params))
    placed = placements({path: x.shape for path, x in by_path(params).items()}, rules, mesh, scanned)
    return map_paths(lambda path, _: NamedSharding(mesh, placed[path]), params)


def state_shardings(state: Any, rules: Rules, mesh: Meshes, scanned: Collection[str] = ()) -> Any:
    """Shardings of a whole TrainState: what mirrors a parameter (its average, its moments) lies where the parameter lies."""
    placed = dict(zip(parameter_paths(state.params), jax.tree.leaves(shardings(state.params, rules, mesh, scanned)), strict=True))
    shapes = dict(zip(parameter_paths(state.params), (x.shape for x in jax.tree.leaves(state.params)), strict=True))

    def place(path: str, leaf: Any) -> NamedSharding:
        parts = path.split("/")  # e.g. opt/inner/0/mu/stem/proj/kernel, which ends in the path of its parameter
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        mirrored = next((end for end in ends if shapes.get(end) == leaf.shape), None)
        return placed[mirrored] if mirrored else replicated(mesh)

    return map_paths(place, state)


def on_mesh(f: Callable, mesh: Mesh) -> Callable:
    """`f`, to be jitted, with the mesh known inside: by it a kernel that XLA cannot cut cuts itself (`ops/attention.py`)."""

    def inside(*args: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return f(*args)

    return inside


# ---- batches ---------------------------------------------------------------------------------------------------------------------


def row_shards(mesh: Mesh) -> int:
    """Into how many pieces the rows of a batch are cut."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over data and fsdp together."""
    return NamedSharding(mesh, P(ROWS))


def replicated(mesh: Meshes) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, P())


def check_batch(batch: int, accumulate: int, mesh: Mesh) -> None:
    """Every device must get the same number of rows of every micro-batch."""
    pieces = row_shards(mesh) * accumulate
    if batch % pieces:
        below, above = batch // pieces * pieces, -(-batch // pieces) * pieces
        near = f"{below} and {above}" if below else f"{above}"
        raise ConfigError(
            f"batch={batch} cannot be divided by {pieces} = data {mesh.shape['data']} x fsdp {mesh.shape['fsdp']} "
            f"x accumulate {accumulate}; the nearest sizes that can: {near}"
        )


def data_shard(mesh: Mesh) -> tuple[int, int]:
    """(index, count): the share of the data that this process loads. Processes that hold the same rows load the same share."""
    rows: dict[int, set[int]] = defaultdict(set)
    for device, (index,) in batch_sharding(mesh).devices_indices_map((row_shards(mesh),)).items():
        rows[device.process_index].add(index.start or 0)
    shares = sorted({tuple(sorted(r)) for r in rows.values()})
    if sum(map(len, shares)) != row_shards(mesh) or len({len(s) for s in shares}) > 1:
        raise ConfigError(f"mesh={dict(mesh.shape)}: processes hold overlapping rows; make data x fsdp a multiple of the processes")
    return shares.index(tuple(sorted(rows[jax.process_index()]))), len(shares)


def to_devices(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """This process's share of a batch, as its part of the global arrays."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), dict(batch))

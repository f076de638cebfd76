"""Which mesh, which rematerialisation and which batch: candidates compiled one after the other, the fastest an example first.

A compilation takes minutes for a large model, so few are made. What cannot hold its own parameters is not compiled. The largest
batch is looked for in powers of two times the experiment's own: memory grows linearly in the batch, so that one compilation says
where the limit lies, and a second one whether that is true.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from jaxemb.aot.plan import Plan, plan, remat_of
from jaxemb.aot.program import sizes
from jaxemb.aot.topology import Topology
from jaxemb.config import ConfigError, override, suggest
from jaxemb.train.setup import state_shapes
from jaxemb.train.sharding import make_mesh

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

FIELDS = ("batch", "mesh", "remat")
TRIES = 4
"""Compilations at most for the batch of a mesh."""
MOST = 64
"""Times the experiment's own batch."""


class Tried(NamedTuple):
    """A candidate and what came of it."""

    mesh: dict[str, int]
    remat: str | None
    batch: int
    plan: Plan | None
    why: str
    """Where there is no plan."""

    @property
    def seconds(self) -> float:
        """Of an example, at best; infinite where it does not fit."""
        p = self.plan
        return math.inf if p is None or p.roofline is None or p.fits is False else p.roofline.seconds / p.rows


def sweep(experiment: Experiment, topology: Topology, over: Sequence[str], say: Callable[[str], object] = print) -> list[Tried]:
    """All that was compiled, the fastest an example first."""
    for name in over:
        if name not in FIELDS:
            raise ConfigError(f"--sweep {name}: there is nothing of this name to vary{suggest(name, FIELDS)}")
    if "batch" in over and topology.chip is None:
        raise ConfigError(f"--sweep batch: nothing is known of the memory of {topology.name}, so every batch fits")
    found: list[Tried] = []
    variants = list(candidates(experiment, topology, over))
    for i, (mesh, remat, variant) in enumerate(variants):
        say(f"\n{i + 1} of {len(variants)}: mesh {shown(mesh)}, remat {remat or 'none'}")
        found += largest(variant, topology, say) if "batch" in over else [attempt(variant, topology, say)]
    return sorted(found, key=lambda t: (t.seconds, -t.batch))


def candidates(
    experiment: Experiment, topology: Topology, over: Sequence[str]
) -> Iterator[tuple[dict[str, int], str | None, Experiment]]:
    """(mesh, remat, the experiment with them)."""
    own = dict(experiment.mesh)
    for mesh in meshes(experiment, topology) if "mesh" in over else [own]:
        placed = dataclasses.replace(experiment, mesh=mesh)
        for remat in remats(experiment) if "remat" in over else [remat_of(experiment)]:
            yield (
                mesh,
                remat,
                placed if remat == remat_of(placed) else override(placed, [f"objective.encoder.remat={remat or 'null'}"]),
            )


def meshes(experiment: Experiment, topology: Topology) -> list[dict[str, int]]:
    """Copies, shares, and both with a row of the torus as the border; with tensor parallelism where the rules have it."""
    n = len(topology.devices)
    rules = str(experiment.sharding)
    shares = {1} if not any(word in rules for word in ("fsdp", "tensor", "largest")) else {1, n, topology.shape[-1], n // 2}
    cuts = {1, 2, 4} if "tensor" in rules or "model" in rules else {1}
    found = []
    for model in sorted(cuts):
        for fsdp in sorted(shares, reverse=True):
            if n % model == 0 and (n // model) % fsdp == 0:
                found.append({"data": n // model // fsdp, "fsdp": fsdp, "model": model})
            elif n % model == 0 and fsdp == n:
                found.append({"data": 1, "fsdp": n // model, "model": model})
    return [m for i, m in enumerate(found) if m not in found[:i]]


def remats(experiment: Experiment) -> list[str | None]:
    """With and without, where the encoder knows it."""
    if not hasattr(getattr(experiment.objective, "encoder", None), "remat"):
        raise ConfigError(f"--sweep remat: {type(experiment.objective).__name__} has no encoder with the field remat")
    return [None, remat_of(experiment) or "full"]


# ---- one mesh --------------------------------------------------------------------------------------------------------------------


def attempt(experiment: Experiment, topology: Topology, say: Callable[[str], object]) -> Tried:
    """Compiles the train step, where the state has room."""
    mesh, remat, batch = dict(experiment.mesh), remat_of(experiment), experiment.batch
    try:
        held = state_bytes(experiment, topology)
        if topology.chip is not None and held > topology.chip.usable:
            return Tried(mesh, remat, batch, None, f"parameters, average and moments alone are {held / 1e9:.1f} GB a chip")
        return Tried(mesh, remat, batch, plan(experiment, topology, encodes=False, say=say)[0], "")
    except (ConfigError, jax.errors.JaxRuntimeError) as e:  # anything else is a fault of the code, and no answer
        return Tried(mesh, remat, batch, None, next(iter(str(e).splitlines()), type(e).__name__)[:200])


def state_bytes(experiment: Experiment, topology: Topology) -> float:
    """Of what does not depend on the batch, on a chip."""
    state = state_shapes(experiment, make_mesh(experiment.mesh, topology.devices))
    devices = 1 if topology.chip is None else topology.chip.devices
    return devices * sum(sizes({"parameters": state.params, "average": state.ema, "optimiser": state.opt}).values())


def largest(experiment: Experiment, topology: Topology, say: Callable[[str], object]) -> list[Tried]:
    """The experiment's batch, then the largest multiple or part of it, by powers of two, that should fit, until one does."""
    first = attempt(experiment, topology, say)
    tried = [first]
    if first.plan is None:
        return tried
    factor = estimate(first.plan)
    while len(tried) < TRIES and factor != 1:
        batch = int(experiment.batch * factor)
        if batch < 1 or batch != experiment.batch * factor:
            break
        tried.append(attempt(dataclasses.replace(experiment, batch=batch), topology, say))
        last = tried[-1].plan
        if last is None or last.fits:
            break
        factor /= 2
    return tried


def estimate(p: Plan) -> float:
    """By which power of two the batch of a plan can grow, or has to shrink. Without a word of the compiler: by half."""
    if p.needed is None or p.available is None:
        return 0.5
    fixed = sum(p.memory.get(name, 0.0) for name in ("parameters", "average", "statistics", "optimiser", "code"))
    grows = max(p.needed - fixed, 1.0)
    factor = 2.0 ** math.floor(math.log2(max((p.available - fixed) / grows, 1 / MOST)))
    return min(factor, float(MOST)) if p.fits else min(factor, 0.5)


def shown(mesh: Any) -> str:
    return " x ".join(f"{axis} {n}" for axis, n in mesh.items() if n != 1) or "one device"

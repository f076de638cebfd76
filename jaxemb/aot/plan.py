"""What a program of an experiment needs of a slice, and the best that it can do there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jax.sharding import Mesh

from jaxemb.aot.collectives import Collective, collectives
from jaxemb.aot.hlo import Module
from jaxemb.aot.program import Built, Program, build, encode, train_step
from jaxemb.aot.roofline import Roofline, roofline
from jaxemb.aot.topology import Topology
from jaxemb.aot.traffic import traffic
from jaxemb.config import ConfigError
from jaxemb.objectives.base import Objective
from jaxemb.train.setup import own_objects, uncut_parameters
from jaxemb.train.sharding import make_mesh

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Plan:
    """Bytes are those of a chip, FLOPs those of all."""

    program: str
    topology: str
    chips: int
    mesh: dict[str, int]
    rows: int
    compile_seconds: float
    memory: dict[str, float]
    """By what it is: arguments as their shapes say, then what the compiler adds."""
    available: float | None
    needed: float | None
    """None where the compiler does not say."""
    fits: bool | None
    """None where nothing is published of the chip."""
    failure: str
    model_flops: float
    executed_flops: float
    moved: float | None
    """Bytes between the memory of a chip and the chip."""
    collectives: tuple[Collective, ...]
    guessed: tuple[str, ...]
    """What was counted as one turn since its length is not known."""
    roofline: Roofline | None
    mfu: float | None
    """The bound of the model FLOPs utilisation. Of a program that does not fit, as its `roofline`, from FLOPs alone."""
    remat: str | None = None
    """Of the encoder that was compiled, which in a sweep is not the experiment's own."""

    def to_json(self) -> dict[str, Any]:
        doc = dataclasses.asdict(self)
        doc["collectives"] = [c._asdict() | {"group": len(c.group)} for c in self.collectives]
        doc["roofline"] = self.roofline and {"seconds": self.roofline.seconds, "bound": self.roofline.bound} | self.roofline.terms
        return doc


def plan(experiment: Experiment, topology: Topology, *, encodes: bool = True, say: Callable[[str], object] = print) -> list[Plan]:
    """Of the train step, and of `encode` where the objective has one."""
    experiment, _ = own_objects(experiment)
    mesh = make_mesh(experiment.mesh, topology.devices)
    if mesh.size < len(topology.devices):
        raise ConfigError(
            f"mesh={dict(experiment.mesh)} takes {mesh.size} of the {len(topology.devices)} devices of {topology.name}; "
            "{'data': -1} takes them all"
        )
    if note := uncut_parameters(experiment, mesh):
        say(note)
    programs = [train_step(experiment, mesh)]
    if encodes and type(experiment.objective).encode is not Objective.encode:
        programs.append(encode(experiment, mesh, experiment.batch))
    return [dataclasses.replace(plan_one(program, mesh, topology, say), remat=remat_of(experiment)) for program in programs]


def remat_of(experiment: Experiment) -> str | None:
    return getattr(getattr(experiment.objective, "encoder", None), "remat", None)


def plan_one(program: Program, mesh: Mesh, topology: Topology, say: Callable[[str], object] = print) -> Plan:
    """Compiles one program and holds it against the chip."""
    say(f"compiling the {program.name} of {program.rows} examples for {topology.name} ...")
    began = time.perf_counter()
    built = build(program)
    say(f"  {built.seconds:.0f} s" + (f", {time.perf_counter() - began - built.seconds:.0f} s of tracing"))
    model, executed = program.model(), program.executed()
    chip = topology.chip
    devices = 1 if chip is None else chip.devices
    module = Module(built.text) if built.text else None
    sent = () if module is None else tuple(collectives(module, dict(mesh.shape)))
    moved = None if module is None else traffic(module)
    memory = {name: size * devices for name, size in parts(program, built).items()}
    needed = needs(program, built)
    bound = None
    if chip is not None:
        bound = roofline(executed.count, moved or 0.0, sent, topology, places(mesh))
    return Plan(
        program=program.name,
        topology=topology.name,
        chips=topology.chips,
        mesh=dict(mesh.shape),
        rows=program.rows,
        compile_seconds=built.seconds,
        memory=memory,
        available=None if chip is None else chip.usable,
        needed=None if needed is None else needed * devices,
        # The compiler refuses what is far too large alone: a program may pass and still hold more than there is.
        fits=None if chip is None else not built.failure and (needed or 0.0) * devices <= chip.usable,
        failure=built.failure,
        model_flops=model.count,
        executed_flops=executed.count,
        moved=None if moved is None else moved * devices,
        collectives=sent,
        guessed=guesses(model.loops or executed.loops, module),
        roofline=bound,
        mfu=None if chip is None or bound is None else model.count / (topology.chips * chip.peak * bound.seconds),
    )


def places(mesh: Mesh) -> list[tuple[int, ...]]:
    """Where the devices lie in the torus, in the order of the mesh."""
    return [tuple(d.coords) for d in mesh.devices.flat]


def parts(program: Program, built: Built) -> dict[str, float]:
    """Bytes on a device."""
    found = dict(program.memory)
    if built.failure:
        return found
    padding = built.arguments - sum(found.values())
    found |= {"padding of arguments": padding} if padding > 0 else {}
    return found | {"activations and temporaries": built.temporaries, "results": built.results, "code": built.code}


def needs(program: Program, built: Built) -> float | None:
    """Bytes on a device."""
    if not built.failure:
        return sum(parts(program, built).values())
    if built.needed is None:
        return None
    # What "HLO temporaries" counts leaves the arguments out.
    return built.needed + (sum(program.memory.values()) if "temporaries" in built.failure else 0)


def guesses(loops: bool, module: Module | None) -> tuple[str, ...]:
    found: Sequence[str] = sorted(module.unknown) if module else []
    return (*(("a loop of the step",) if loops else ()), *found)

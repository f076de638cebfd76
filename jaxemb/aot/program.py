"""The programs of an experiment, lowered for the devices of a topology and compiled: those that training and encoding run."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxemb.aot.chips import GIB
from jaxemb.ops.flops import Flops, flops_of
from jaxemb.train.encode import compiled as encoding
from jaxemb.train.flops import bare, count_step, once_computed
from jaxemb.train.loop import placed_step
from jaxemb.train.setup import every_batch_shape, state_shapes, zeros_of
from jaxemb.train.sharding import batch_sharding, check_batch, on_mesh, replicated, row_shards
from jaxemb.train.state import TrainState
from jaxemb.train.summary import on_device

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

LETTERS = {"B": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
NEEDED = (
    r"Used ([\d.]+)([BKMGT]?) of [\d.]+[BKMGT]? hbm",
    r"total memory required for HLO temporaries \(([\d.]+)([BKMGT]?)\)",
    r"Total hbm usage >= ([\d.]+)([BKMGT]?)",
)


class Program(NamedTuple):
    """What is compiled, and what is known of it before."""

    name: str
    rows: int
    """Examples of a run of it."""
    lower: Callable[[], Any]
    memory: Mapping[str, float]
    """Bytes of its arguments on a device, by what they are."""
    model: Callable[[], Flops]
    """What the model computes, recomputation left out."""
    executed: Callable[[], Flops]
    """What the devices compute together."""


class Built(NamedTuple):
    """A compiled program, or why there is none."""

    seconds: float
    text: str = ""
    arguments: float = 0.0
    temporaries: float = 0.0
    results: float = 0.0
    """Bytes of what is no argument whose memory is used again."""
    code: float = 0.0
    failure: str = ""
    needed: float | None = None
    """Bytes that a program that did not fit would have needed, as far as the compiler says."""


def build(program: Program) -> Built:
    """Lowers and compiles; too large a program is an answer, no error."""
    lowered = program.lower()
    began = time.perf_counter()
    try:
        with uncached():
            made = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
        if "RESOURCE_EXHAUSTED" not in str(e):
            raise
        return Built(time.perf_counter() - began, failure=first_sentence(str(e)), needed=bytes_needed(str(e)))
    seconds = time.perf_counter() - began
    m = made.memory_analysis()
    if m is None:
        return Built(seconds, made.as_text() or "")
    results = max(m.output_size_in_bytes - m.alias_size_in_bytes, 0)
    return Built(
        seconds, made.as_text() or "", m.argument_size_in_bytes, m.temp_size_in_bytes, results, m.generated_code_size_in_bytes
    )


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """What is compiled for devices that are not here can be written to JAX's cache on disk, but not be read from it."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 1e9)
    try:
        yield
    finally:
        jax.config.update(name, before)


def bytes_needed(message: str) -> float | None:
    """What a RESOURCE_EXHAUSTED says that the program uses."""
    found = next((f for pattern in NEEDED if (f := re.search(pattern, message))), None)
    return None if found is None else float(found[1]) * LETTERS.get(found[2], 1)


def first_sentence(message: str) -> str:
    line = next((x.strip() for x in message.splitlines() if x.strip()), "")
    return line[:300]


# ---- the two programs ------------------------------------------------------------------------------------------------------------


def train_step(experiment: Experiment, mesh: Mesh) -> Program:
    """The update, with the largest batch of data that have several."""
    check_batch(experiment.batch, experiment.accumulate, mesh)
    state = state_shapes(experiment, mesh)
    batch = max(every_batch_shape(experiment, mesh), key=on_device)
    held = {"parameters": state.params, "average": state.ema, "statistics": state.stats, "optimiser": state.opt, "batch": batch}

    def lower() -> Any:
        return placed_step(experiment, state, mesh).lower(state, batch)

    def model() -> Flops:
        return count_step(once_computed(experiment), batch)

    return Program("train step", experiment.batch, lower, sizes(held), model, lambda: count_step(experiment, batch, mesh))


def encode(experiment: Experiment, mesh: Mesh, rows: int, role: str = "document") -> Program:
    """Embeddings of a batch, whole on every device as evaluations get them."""
    shards = row_shards(mesh)
    rows = -(-rows // shards) * shards
    objective, placed = experiment.objective, batch_sharding(mesh)

    def describe(x: np.ndarray) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype), sharding=placed)

    batch = max((jax.tree.map(describe, zeros_of(spec, rows)) for spec in experiment.data.specs), key=on_device)
    state: TrainState = state_shapes(experiment, mesh)
    variables = state.variables()

    def lower() -> Any:
        return encoding(objective, "encode", role, replicated(mesh)).lower(variables, batch)

    def count(mesh: Mesh | None = None) -> Flops:
        def run(v: Any, b: Any) -> Any:
            return objective.apply(v, b, method="encode")

        return flops_of(run if mesh is None else on_mesh(run, mesh), bare(variables), bare(batch))

    held = {"parameters": variables["params"], "statistics": state.stats, "batch": batch}
    return Program("encode", rows, lower, sizes(held), count, lambda: count(mesh))


# ---- bytes -----------------------------------------------------------------------------------------------------------------------


def sizes(held: Mapping[str, Any]) -> dict[str, float]:
    """Bytes on a device of what there is."""
    return {name: size for name, tree in held.items() if (size := on_device(tree))}

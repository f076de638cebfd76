"""What JAX traces and compiles, and when: told by its own events."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

STAGES = "/jax/core/compile/"
"""Events of tracing, lowering and compiling begin like this."""
BUILT = f"{STAGES}backend_compile_duration"


class Compilation(NamedTuple):
    """A function that became an executable, by the compiler or from its cache on disk."""

    name: str
    """As JAX calls it, e.g. "jit(step)"."""
    seconds: float
    """Of the compiler; tracing and lowering come on top."""


class Recompiled(RuntimeError):
    """Something was compiled where everything should have been."""


@contextlib.contextmanager
def listening(hear: Callable[[float, Compilation | None], object]) -> Iterator[None]:
    """Calls `hear(seconds, compilation)` after each stage of a compilation in this thread; a stage is tracing (seconds without
    those of the functions inside, which were told before), lowering, or compiling, which alone has a `Compilation`."""
    thread = threading.get_ident()
    stages: list[tuple[float, float]] = []  # (start, seconds), none inside of another

    def listen(event: str, start_time: float, end_time: float, **about: str | int) -> None:
        if threading.get_ident() != thread or not event.startswith(STAGES):
            return
        seconds, inside = max(end_time - start_time, 0.0), 0.0
        while stages and stages[-1][0] >= start_time:
            inside += stages.pop()[1]
        stages.append((start_time, seconds))
        hear(max(seconds - inside, 0.0), Compilation(str(about.get("fun_name", "?")), seconds) if event == BUILT else None)

    jax.monitoring.register_event_time_span_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_time_span_listener(listen)


@contextlib.contextmanager
def no_compilation() -> Iterator[None]:
    """Raises `Recompiled` at the end of a block in which this thread has compiled something."""
    found: list[Compilation] = []
    with listening(lambda _, compilation: found.append(compilation) if compilation else None):
        yield
    if found:
        raise Recompiled(f"compiled again: {named(found)}")


def named(found: list[Compilation]) -> str:
    """The functions, each once, with the seconds that they took: "jit(step), 2 x jit(add), took 3.1 s"."""
    counts: dict[str, int] = {}
    for compilation in found:
        counts[compilation.name] = counts.get(compilation.name, 0) + 1
    names = ", ".join(name if n == 1 else f"{n} x {name}" for name, n in counts.items())
    return f"{names}, took {sum(c.seconds for c in found):.1f} s"

"""Where the wall time of a run went, and what was compiled when everything should have been."""

from __future__ import annotations

import os
import time
from typing import Any

import jax

from jaxemb.train.compilations import Compilation, Recompiled, listening, named

ACCOUNTS = {
    "device": "waiting for the step",
    "input": "waiting for a batch while no step ran",
    "host": "Python of the loop",
    "evaluation": "",
    "saving": "",
    "compiling": "tracing and compiling",
    "profiling": "starting and writing the trace",
    "rest": "before the first step and after the last",
}
STEPS = ("device", "input", "host")
"""What training itself spends."""
WARM = 2
"""Steps after which a step compiles nothing: the metrics of the first are read in the second."""
WINDOW, SHORTEST = 50, 2.0
"""Steps, and seconds at least, over which it is judged what a run waits for."""


class Spent:
    """Every moment of the thread that trains belongs to one account, the innermost that is open, so that they sum to the wall time.

    No step is waited for to measure it. What a step took shows where the loop waits for it anyway: where the metrics of the step
    before are read, and in the call of the step itself where the CPU computes in it. Tracing and compiling are told by JAX and
    taken out of the account in which they happen. Within a `with` block of its own.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(ACCOUNTS, 0.0)
        self.recompiled: list[Compilation] = []
        """What was compiled after the warm-up: by a step, or by an evaluation or a save that was there before."""
        self.steps = 0
        self.traced = False
        """Whether accounts show as named scopes in a trace that is being made."""
        self._open, self._first, self._since = "rest", True, time.perf_counter()
        self._seen: set[tuple[str, str]] = set()
        self._listener = listening(self._hear)
        self._mark = (0.0, 0.0)
        self._said = 0

    def __enter__(self) -> Spent:
        self._listener.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._listener.__exit__(*error)

    def on(self, account: str, *parts: str) -> Account:
        """A `with` block whose time goes to `account`. What is compiled there is a surprise unless one of `parts` is new."""
        first = False
        if parts:
            found = {(account, part) for part in parts}
            first = not found <= self._seen
            self._seen |= found
        return Account(self, account, first)

    def step(self) -> float:
        """A step is done. At the end of each WINDOW, the share of its time that went to waiting for batches; else 0."""
        self.steps += 1
        if self.steps % WINDOW:
            return 0.0
        now = self._steps()
        waited, whole = now[0] - self._mark[0], now[1] - self._mark[1]
        self._mark = now
        return waited / whole if whole >= SHORTEST else 0.0

    def surprise(self) -> str | None:
        """What was compiled since the last call though nothing should have been, in words.

        An error where JAXEMB_RECOMPILATION is "error" in the environment, as in tests.
        """
        if len(self.recompiled) == self._said:
            return None
        found, self._said = self.recompiled[self._said :], len(self.recompiled)
        if os.environ.get("JAXEMB_RECOMPILATION") == "error":
            raise Recompiled(f"compiled after the warm-up: {named(found)}")
        return f"compiled {len(found)} function{'s' * (len(found) > 1)} again: {named(found)}"

    def whole(self) -> float:
        """Seconds since the beginning."""
        self.switch(self._open, self._first)
        return sum(self.seconds.values())

    def input_share(self) -> float:
        """Of the time of all steps, what went to waiting for batches; 0 where that says nothing yet."""
        waited, whole = self._steps()
        return waited / whole if whole >= SHORTEST else 0.0

    def rate(self) -> float:
        """Steps a second, of the time that steps spend."""
        whole = self._steps()[1]
        return self.steps / whole if whole else 0.0

    def lines(self) -> list[str]:
        """A table, and what was compiled again."""
        whole = self.whole()
        rows = [(name, self.seconds[name], about) for name, about in ACCOUNTS.items() if self.seconds[name] > 0]
        width = max(len(f"{whole:.1f}"), len("seconds"))
        lines = [f"{'time':<12}{'seconds':>{width}}  share"]
        lines += [f"{name:<12}{s:>{width}.1f}  {s / whole:>5.0%}  {about}".rstrip() for name, s, about in rows]
        lines += [f"{'all':<12}{whole:>{width}.1f}"]
        if self.recompiled:
            lines.append(
                f"compiled after the warm-up: {named(self.recompiled)}; shapes, dtypes or Python values change between calls"
            )
        return lines

    def summary(self) -> dict[str, Any]:
        """For env.json."""
        recompiled = [compilation._asdict() for compilation in self.recompiled]
        return {"seconds": {name: round(s, 3) for name, s in self.seconds.items()}, "recompiled": recompiled}

    def switch(self, account: str, first: bool = False) -> tuple[str, bool]:
        """From now on time goes there; returns where it went before."""
        now, before = time.perf_counter(), (self._open, self._first)
        self.seconds[self._open] += now - self._since
        self._open, self._first, self._since = account, first, now
        return before

    def _steps(self) -> tuple[float, float]:
        """Seconds of input, and of all that steps spend."""
        return self.seconds["input"], sum(self.seconds[name] for name in STEPS)

    def _hear(self, seconds: float, compilation: Compilation | None) -> None:
        account, first = self.switch(self._open, self._first)
        moved = min(seconds, self.seconds[account])
        self.seconds[account] -= moved
        self.seconds["compiling"] += moved
        watched = self.steps >= WARM if account in STEPS else account in ("evaluation", "saving") and not first
        if compilation and watched:
            self.recompiled.append(compilation)


class Account:
    """A `with` block of `Spent`."""

    __slots__ = ("_account", "_before", "_first", "_scope", "_spent")

    def __init__(self, spent: Spent, account: str, first: bool):
        self._spent, self._account, self._first = spent, account, first
        self._scope = jax.profiler.TraceAnnotation(account) if spent.traced else None

    def __enter__(self) -> None:
        self._before = self._spent.switch(self._account, self._first)
        if self._scope:
            self._scope.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._scope:
            self._scope.__exit__(*error)
        self._spent.switch(*self._before)

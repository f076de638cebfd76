"""What the loop says, to the terminal and to the files of the run."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from jaxemb.log.progress import Progress, show
from jaxemb.log.writer import Writer
from jaxemb.run.folder import Run
from jaxemb.train.failures import TrainError, not_finite
from jaxemb.train.spent import Spent

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


INPUT_BOUND = 0.2
"""Share of the time of the steps from which on waiting for batches is worth a word."""
POLL = 0.001
"""Seconds between two looks at whether a step still runs; only where the next batch is late."""


class Report:
    """Reads the metrics of a step while the next one runs, so that the devices never wait for the host."""

    def __init__(self, experiment: Experiment, writer: Writer, progress: Progress, spent: Spent):
        self._experiment, self._writer, self._progress, self._spent = experiment, writer, progress, spent
        self._late: tuple[int, Mapping[str, Any]] | None = None
        self._first = 1
        self._input_bound = False

    def say(self, text: str) -> None:
        self._progress.say(text)
        self._writer.text(text)

    @contextlib.contextmanager
    def aside(self, account: str, what: str | None = None, *, parts: Iterable[str] = ()) -> Iterator[Callable[[], float]]:
        """Work of an account that is no step and does not count into the rates; `what` is announced, with the seconds it took.
        The value says them too. `parts`: see `Spent.on`."""
        began = time.perf_counter()
        if what:
            self.say(f"{what} ...")
        with self._progress.aside(), self._spent.on(account, *parts):
            yield lambda: time.perf_counter() - began
        if what:
            self.say(f"{what}: {time.perf_counter() - began:.1f} s")
        self._compiled_again(what or account)

    def begin(self, step: int, *, resumed: bool) -> None:
        """From here on the loop runs; what the files hold beyond this step is dropped."""
        self._first = step + 1
        self._writer.resume(step if resumed else None)
        self._progress.start(step)

    def written(self) -> dict[str, Any]:
        """What a checkpoint keeps of the metrics before it."""
        return self._writer.tally()

    def against(self, least: float | None) -> None:
        """Speed is compared with this: the seconds that a step would take at the peak of the devices."""
        self._progress.least = least

    def due(self, step: int) -> bool:
        """Whether the metrics of this step are written."""
        return step % self._experiment.log_every == 0 or step in (1, self._experiment.steps)

    def wait(self, arrives: Callable[[float], bool]) -> None:
        """Until a batch is there: `arrives(seconds)` waits for it as long. Where a step still runs meanwhile, the devices are what
        is waited for, and only afterwards the input."""
        if arrives(0.0):
            return
        with self._spent.on("device"):
            while self._late and not self._late[1]["loss"].is_ready():
                if arrives(POLL):
                    return
        with self._spent.on("input"):
            while not arrives(1.0):
                pass

    def step(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """The metrics of a step that has been started; those of the step before are read now."""
        late, self._late = self._late, (step, metrics)
        if late:
            self._read(*late)
        self._compiled_again(f"step {step}")
        share = self._spent.step()
        if share > INPUT_BOUND and not self._input_bound:
            self._input_bound = True
            self.say(f"step {step}  {input_bound(share)}")

    def flush(self) -> None:
        """Waits for the step that runs, and reads its metrics."""
        late, self._late = self._late, None
        if late:
            self._read(*late)

    def figures(self, step: int, figures: Mapping[str, float], seconds: float) -> None:
        """Figures of evaluations."""
        self._writer.write(step, figures)
        self.say(f"step {step}  {show(figures)}  (evaluated in {seconds:.1f} s)")
        self._writer.flush()

    def spent(self, folder: Run, start: int, stop: int) -> None:
        """Where the time of the steps after `start` up to `stop` went, as a table and in env.json."""
        for line in self._spent.lines():
            self.say(line)
        if rate := self._spent.rate():
            self.say(f"all steps: {self._progress.speed(rate)}")
        if (share := self._spent.input_share()) > INPUT_BOUND:
            self.say(f"{input_bound(share)}. {faster_input(self._experiment)}")
        if jax.process_index() == 0:
            folder.note(spent={"steps": [start, stop], **self._spent.summary()})

    def close(self) -> None:
        self._progress.close()
        self._writer.close()

    def _read(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        with self._spent.on("device"):
            got = jax.device_get({k: metrics[k] for k in ("loss", "grad_norm")})
        checked = {name: float(value) for name, value in got.items()}
        if not all(map(math.isfinite, checked.values())):
            raise TrainError(not_finite(self._experiment, step, checked))
        self._progress.step(step, checked["loss"])
        if step == self._first:
            self._progress.measure(step)
        if not self.due(step):
            return
        rate = self._progress.measure(step)
        speed = {"steps_per_second": rate, "examples_per_second": rate * self._experiment.batch} if rate else {}
        if rate and self._progress.least:
            speed["mfu"] = self._progress.mfu(rate)
        self._writer.write(step, {**jax.device_get(dict(metrics)), **speed})
        self._writer.text(self._progress.line(step, checked["loss"]))

    def _compiled_again(self, where: str) -> None:
        if said := self._spent.surprise():
            self.say(f"{where}: {said}")


def input_bound(share: float) -> str:
    return f"input-bound: {share:.0%} of the time of the steps is waiting for batches"


def faster_input(experiment: Experiment) -> str:
    """What to try, with the present values of the fields that help."""
    found = {name: getattr(experiment.data, name, None) for name in ("workers", "memory")}
    fields = "".join(f"raise data.{name} (now {value}), " for name, value in found.items() if value is not None)
    return (
        f"Try: {fields}store what is read in the size that is trained on, do less to each example (data.augment), or train a model "
        "that takes longer; docs/scale_out.md, When it is slow"
    )

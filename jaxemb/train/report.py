"""What the loop says, to the terminal and to the files of the run."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from jaxemb.log.progress import Progress, show
from jaxemb.log.writer import Writer
from jaxemb.train.failures import TrainError, not_finite

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


class Report:
    """Reads the metrics of a step while the next one runs, so that the devices never wait for the host."""

    def __init__(self, experiment: Experiment, writer: Writer, progress: Progress):
        self._experiment, self._writer, self._progress = experiment, writer, progress
        self._late: tuple[int, Mapping[str, Any]] | None = None
        self._first = 1

    def say(self, text: str) -> None:
        self._progress.say(text)
        self._writer.text(text)

    @contextlib.contextmanager
    def aside(self, what: str | None = None) -> Iterator[None]:
        """Work that does not count as training time; `what` is announced, with the seconds it took."""
        began = time.perf_counter()
        if what:
            self.say(f"{what} ...")
        with self._progress.aside():
            yield
        if what:
            self.say(f"{what}: {time.perf_counter() - began:.1f} s")

    def begin(self, step: int, *, resumed: bool) -> None:
        """From here on the loop runs; what the files hold beyond this step is dropped."""
        self._first = step + 1
        self._writer.resume(step if resumed else None)
        self._progress.start(step)

    def due(self, step: int) -> bool:
        """Whether the metrics of this step are written."""
        return step % self._experiment.log_every == 0 or step in (1, self._experiment.steps)

    def step(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """The metrics of a step that has been started; those of the step before are read now."""
        late, self._late = self._late, (step, metrics)
        if late:
            self._read(*late)

    def flush(self) -> None:
        """Waits for the step that runs, and reads its metrics."""
        late, self._late = self._late, None
        if late:
            self._read(*late)

    def figures(self, step: int, figures: Mapping[str, float], seconds: float) -> None:
        """Figures of evaluations."""
        self._writer.write(step, figures)
        self.say(f"step {step}  {show(figures)}  (evaluated in {seconds:.1f} s)")

    def close(self) -> None:
        self._progress.close()
        self._writer.close()

    def _read(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        checked = {name: float(value) for name, value in jax.device_get({k: metrics[k] for k in ("loss", "grad_norm")}).items()}
        if not all(map(math.isfinite, checked.values())):
            raise TrainError(not_finite(self._experiment, step, checked))
        self._progress.step(step, checked["loss"])
        if step == self._first:
            self._progress.measure(step)
        if not self.due(step):
            return
        rate = self._progress.measure(step)
        speed = {"steps_per_second": rate, "examples_per_second": rate * self._experiment.batch} if rate else {}
        self._writer.write(step, {**jax.device_get(dict(metrics)), **speed})
        self._writer.text(self._progress.line(step, checked["loss"]))

"""A trace of some steps by JAX's profiler, for Perfetto and XProf."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
from etils import epath

from jaxemb.config import ConfigError
from jaxemb.train.failures import TrainError
from jaxemb.train.report import Report
from jaxemb.train.spent import Spent


def parse(text: str) -> tuple[int, int]:
    """START:STOP as the command line takes it."""
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal()):
        raise ConfigError(f"--profile takes START:STOP, two numbers of steps, e.g. 100:110, not {text!r}")
    return int(start), int(stop)


def check(profile: tuple[int, int], steps: int) -> None:
    """Refuses a range that a run of `steps` does not pass. One that is behind a run which goes on is no mistake: the same command
    goes on."""
    start, stop = profile
    if not 0 <= start < stop:
        raise ConfigError(f"profile={start}:{stop}: the trace stops before it starts; START must be at least 0 and less than STOP")
    if stop > steps:
        raise ConfigError(f"profile={start}:{stop} is beyond the run, which has {steps} steps")


class Trace:
    """Of the updates after `start` up to `stop`: every process writes what it and its devices did, into `folder`:

    `steps_<start>_<stop>_process_<i>.json.gz`                      for https://ui.perfetto.dev
    `plugins/profile/steps_<start>_<stop>/process_<i>.xplane.pb`    for XProf and TensorBoard, all processes side by side

    Python itself is not traced: steps would take several times as long. What the loop does has the names of its accounts (`Spent`).
    A trace that is cut off, as by SIGTERM, has the last update that is in it as its stop.
    """

    def __init__(self, profile: tuple[int, int] | None, folder: epath.Path, spent: Spent, report: Report):
        self._profile, self._folder, self._spent, self._report = profile, folder, spent, report
        self._written: tempfile.TemporaryDirectory | None = None
        """On the disk of this machine first: the folder may be in a bucket."""
        self._done = 0

    def begin(self, done: int) -> None:
        """Starts the trace if so many updates are done."""
        if self._profile is None or done != self._profile[0]:
            return
        with self._report.aside("profiling"):
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            self._written = tempfile.TemporaryDirectory(prefix="jaxemb-profile-")
            try:
                jax.profiler.start_trace(self._written.name, create_perfetto_trace=True, profiler_options=options)
            except RuntimeError as e:
                self._written.cleanup()
                self._written = None
                raise TrainError(f"profile={done}:{self._profile[1]}: another trace is being made in this process ({e})") from e
        self._spent.traced, self._done = True, done

    @contextlib.contextmanager
    def step(self, i: int) -> Iterator[None]:
        """Update i = 1, 2, ... as a step of the trace."""
        with jax.profiler.StepTraceAnnotation("train", step_num=i) if self._written else contextlib.nullcontext():
            yield
        self._done = i

    def ends(self, done: int) -> bool:
        """Whether the trace ends after so many updates."""
        return self._written is not None and self._profile is not None and done >= self._profile[1]

    def close(self) -> None:
        """Writes what was traced, if a trace is being made."""
        if self._written is None or self._profile is None:
            return
        self._spent.traced = False
        written, self._written = self._written, None
        with self._report.aside("profiling"), written as folder:
            jax.profiler.stop_trace()
            self._keep(Path(folder), f"steps_{self._profile[0]}_{self._done}", f"process_{jax.process_index()}")

    def _keep(self, written: Path, name: str, process: str) -> None:
        """Copies the files of this process under names that those of others have not."""
        together = self._folder / "plugins" / "profile" / name
        together.mkdir(parents=True, exist_ok=True)
        shown = self._folder / f"{name}_{process}.json.gz"
        for pattern, target in (("*.xplane.pb", together / f"{process}.xplane.pb"), ("perfetto_trace.json.gz", shown)):
            with next(written.rglob(pattern)).open("rb") as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
        self._report.say(
            f"trace written: open {shown} at https://ui.perfetto.dev, or run xprof --logdir {self._folder} (pip install xprof)"
        )

"""What a run shows: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar


class Progress:
    """Step, loss, steps/s, images/s and the time that is left. Evaluations, saves and compilation do not count into the rates."""

    def __init__(
        self,
        steps: int,
        batch: int,
        *,
        unit: str = "images",
        devices: int = 1,
        console: Console | None = None,
        shown: bool = True,
    ):
        """`steps` of the whole run, `batch` examples a step, `unit` what an example is called."""
        self.steps, self.batch, self.unit, self.devices = steps, batch, unit, devices
        self.least: float | None = None
        """Seconds that a step would take at the peak of the devices, where that is known."""
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.shown = shown
        self._bar: Bar | None = None
        self.rate = 0.0
        """Steps a second between the last two calls of `measure`; 0 before the second one."""
        self._marked: tuple[int, float] | None = None

    def start(self, step: int) -> None:
        """From here on steps are done."""
        if self.shown and self.console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(30),
                TextColumn("{task.fields[figures]}"),
            )
            self._bar = Bar(*columns, console=self.console, transient=True)
            self._bar.add_task("", total=self.steps, completed=step, figures="")
            self._bar.start()

    def measure(self, step: int) -> float:
        """Steps a second since the last call. The first call, after the first step, sets the clock: that step waited for data."""
        now = time.perf_counter()
        if self._marked:
            self.rate = (step - self._marked[0]) / max(now - self._marked[1], 1e-9)
        self._marked = (step, now)
        return self.rate

    def step(self, step: int, loss: float) -> None:
        """Moves the bar."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, figures=self._figures(step, loss))

    def line(self, step: int, loss: float) -> str:
        """The line of a step; printed where there is no bar."""
        text = f"step {step:>{len(str(self.steps))}}/{self.steps}  {self._figures(step, loss)}"
        if not self._bar:
            self.say(text)
        return text

    def say(self, text: str) -> None:
        """A line for the reader, above the bar if there is one."""
        if self.shown:
            self.console.print(text, markup=False)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Work that is no step: its time is taken out of the rates."""
        began = time.perf_counter()
        yield
        if self._marked:
            step, then = self._marked
            self._marked = (step, then + time.perf_counter() - began)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _figures(self, step: int, loss: float) -> str:
        text = f"loss {loss:.4f}"
        if self.rate:
            text += f"  {self.speed(self.rate)}  {clock((self.steps - step) / self.rate)} left"
        return text

    def speed(self, rate: float) -> str:
        """Steps a second as the figures that people compare."""
        text = f"{rate:.{1 if rate < 100 else 0}f} steps/s  {rate * self.batch:,.0f} {self.unit}/s"
        if self.devices > 1:
            text += f" ({rate * self.batch / self.devices:,.0f} a device)"
        return text + (f"  MFU {self.mfu(rate):.0%}" if self.least else "")

    def mfu(self, rate: float) -> float:
        """Model FLOPs utilisation: what the model computes over what the devices could, recomputation not counted."""
        return rate * (self.least or 0.0)


def clock(seconds: float) -> str:
    """75 -> "1:15", 3675 -> "1:01:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show(figures: Mapping[str, float]) -> str:
    """Figures in a line: "knn/top1 0.412  rankme/rankme 34.2"."""
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())

"""What a run writes down: metrics.jsonl, the only source of truth for plots; log.txt; TensorBoard and W&B if asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxemb.config import ConfigError
from jaxemb.files import is_local
from jaxemb.run.files import Growing, Where, absolute
from jaxemb.run.metrics import Tally, read_rows, write_row


class Writer:
    """Appends to the files of a run folder. One object a line, {"step": s, name: value, ...}, on disk as soon as it is written;
    in a bucket by `flush`, and every `jaxemb.run.files.EVERY` seconds."""

    def __init__(self, folder: Where | None, *, tensorboard: bool = False, wandb: bool = False, name: str = "", config: Any = None):
        """`folder` None: writes nothing, for processes other than the first. `name` and `config` are for W&B."""
        self.folder = None if folder is None else epath.Path(folder)
        self._began = time.monotonic()
        self._tally = Tally()
        self._metrics, self._log = (Growing(epath.Path(folder or "") / name) for name in ("metrics.jsonl", "log.txt"))
        self._tensorboard = _tensorboard(self.folder) if self.folder and tensorboard else None
        self._wandb = _wandb(self.folder, name, config) if self.folder and wandb else None

    def resume(self, step: int | None) -> None:
        """Drops the lines beyond the step that a run goes on from (None: all), so that no step stands there twice."""
        if self.folder is None:
            return
        self._metrics.flush()
        rows = [r for r in read_rows(self.folder) if step is not None and r["step"] <= step]
        if rows:  # the clock goes on where the rows that stay end
            self._began -= rows[-1].get("seconds") or 0
        self._tally = Tally()
        lines = [write_row(row) for row in rows]
        for line in lines:
            self._tally.add(line)
        self._metrics.begin("".join(lines))

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """A line of figures and the seconds of the run so far, evaluations included; what is not finite becomes null."""
        if self.folder is None:
            return
        values = {name: float(value) for name, value in scalars.items()} | {"seconds": round(time.monotonic() - self._began, 1)}
        row = {"step": step} | {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._metrics.add(line := write_row(row))
        self._tally.add(line)
        for name, value in values.items():
            if self._tensorboard:
                self._tensorboard.add_scalar(name, value, step)
        if self._wandb:
            self._wandb.log(values, step=step)

    def tally(self) -> dict[str, Any]:
        """Of the lines so far, for a checkpoint, which they are written before."""
        self.flush()
        return self._tally.state()

    def flush(self) -> None:
        """All lines are in the files."""
        self._metrics.flush()
        self._log.flush()

    def text(self, line: str) -> None:
        """A line of log.txt, with the time."""
        if self.folder is not None:
            self._log.add(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def close(self) -> None:
        self.flush()
        if self._tensorboard:
            self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()


def _tensorboard(folder: epath.Path) -> Any:
    try:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise ConfigError("TensorBoard output needs the package tensorboardX: pip install 'jaxemb[log]'") from e
    return SummaryWriter(str(folder / "tensorboard"))


def _wandb(folder: epath.Path, name: str, config: Any) -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise ConfigError("W&B output needs the package wandb: pip install 'jaxemb[log]'") from e
    # The folder's name is the identity: a resumed run goes on under it.
    here = str(folder) if is_local(folder) else None  # its own files stay on this machine
    return wandb.init(project="jaxemb", name=name, id=absolute(folder).name, dir=here, config=config, resume="allow")

"""A run folder: what was trained, with what, and what came of it.

config.json     the experiment, fully resolved; written before step 0
env.json        commit, dirty flag, versions, devices, command; the starts before this one under "earlier"
metrics.jsonl   one object a line
checkpoints/    <step>/ and <step>.manifest.json
evals/          <name>@<step>.json
log.txt
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxemb import files
from jaxemb.config import flatten, from_json, to_json
from jaxemb.run.checkpoint import Checkpoints
from jaxemb.run.environment import environment
from jaxemb.run.metrics import read_metrics

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

FREE = ("steps", "evals", "log_every", "save_every", "keep", "best", "mesh", "sharding", "expect")
"""Fields that may change between two starts of one run: how long, how it is watched, on how many devices.
The schedules follow the new number of steps."""


class RunError(ValueError):
    """A run folder that is none, belongs to another config, is in use, or cannot be written."""


class Run:
    """A run folder by its path, "runs/digits" or with a step, "runs/digits@500"."""

    def __init__(self, path: str | Path):
        head, _, tail = str(path).rpartition("@")
        with_step = bool(head and re.fullmatch("[0-9]{1,12}", tail)) and not files.is_folder(path)
        self.path = Path(head if with_step else path)
        self.step = int(tail) if with_step else None
        """The step that the path names, if it does."""

    # ---- reading -----------------------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """config.json as it stands."""
        file = self.path / "config.json"
        if not files.is_regular(file):
            here = sorted(str(p.parent) for p in Path("runs").glob("*/config.json"))
            known = f"; runs here: {', '.join(here)}" if here else ""
            what = "has no config.json, so it is no run folder" if files.is_folder(self.path) else "does not exist"
            raise RunError(f"{files.printable(self.path)} {what}{known}")
        try:
            doc = files.read_json(file)
        except files.FileError as e:
            raise RunError(str(e)) from e
        if not isinstance(doc, dict) or "@" not in doc:
            raise RunError(f"{file} is damaged: it holds no object with a class under '@'")
        return doc

    def experiment(self) -> Experiment:
        """The experiment, rebuilt from config.json."""
        return from_json(self.config())

    def checkpoints(self, say: Callable[[str], None] = print, **options: Any) -> Checkpoints:
        """The checkpoints of this run; `options` are those of `Checkpoints`."""
        return Checkpoints(self.path / "checkpoints", say=say, **options)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_metrics(self.path)

    def figures(self, step: int) -> dict[str, float]:
        """All that metrics.jsonl says about a step."""
        return {k: v for row in self.metrics() if row["step"] == step for k, v in row.items() if k != "step" and v is not None}

    # ---- the training side -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def claimed(self, experiment: Experiment) -> Iterator[None]:
        """This folder for this experiment and this process alone: writes config.json and env.json, refuses another config."""
        doc = to_json(experiment)
        from_json(doc)  # what cannot be read back is refused before anything is trained
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "w")
        except OSError as e:
            raise RunError(f"the run folder {self.path} cannot be written: {e.strerror}; name another one with --run") from e
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
            except OSError as e:
                raise RunError(f"another process is training in {self.path}; wait for it, or name another folder with --run") from e
            self._compare(doc)
            try:
                write_json(self.path / "config.json", doc)
                write_json(self.path / "env.json", self._environment())
            except OSError as e:
                raise RunError(f"the run folder {self.path} cannot be written: {e.strerror}") from e
            yield

    def _compare(self, doc: dict[str, Any]) -> None:
        trained = self.checkpoints().steps() or any(row["step"] > 0 for row in self.metrics())
        if not trained or not (self.path / "config.json").is_file():
            return
        there, here = flatten(to_json(self.experiment())), flatten(doc)
        paths = [p for p in {**there, **here} if there.get(p) != here.get(p) and p.split(".")[0] not in FREE]
        if paths:
            lines = [f"  {p}: {there.get(p, 'not set')!r} there, {here.get(p, 'not set')!r} here" for p in paths]
            raise RunError(
                f"{self.path} belongs to another config, which differs in\n" + "\n".join(lines) + "\n"
                "Name another folder with --run, or go back to these values. "
                f"Between two starts of one run only these may change: {', '.join(FREE)}"
            )

    def _environment(self) -> dict[str, Any]:
        file = self.path / "env.json"
        try:
            before = files.read_json(file)
        except files.FileError:  # none yet, or damaged: this start's is written all the same
            before = None
        if not isinstance(before, dict):
            return environment() | {"earlier": []}
        earlier = before.pop("earlier", [])
        return environment() | {"earlier": [*(earlier if isinstance(earlier, list) else []), before]}


def write_json(file: Path, doc: Any) -> None:
    """In one piece: a reader never sees half of it."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(doc, indent=2) + "\n")
    os.replace(temporary, file)

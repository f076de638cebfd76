"""A run folder: what was trained, with what, and what came of it.

config.json     the experiment, fully resolved; written before step 0
assets/         the preprocessing and what it has learnt (a tokenizer, statistics), with checksums; written before step 0
env.json        commit, dirty flag, versions, devices, command, packages other than ours; at the end where the time went ("spent");
                the starts before this one under "earlier"
metrics.jsonl   one object a line
checkpoints/    <step>/ and <step>.manifest.json
evals/          <name>@<step>.json
pretrained.json the config of the pretrained folder that it started from, if it did
profile/        traces of some steps, if they were asked for
log.txt
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxemb.config import fields, flatten, from_json, to_json
from jaxemb.files import is_folder, is_regular, printable, reaching
from jaxemb.packages import own_packages
from jaxemb.preprocess.base import DataError, Preprocess
from jaxemb.preprocess.images import ImagePreprocess
from jaxemb.run.checkpoint import Checkpoints
from jaxemb.run.claim import claim
from jaxemb.run.environment import environment, read_environment
from jaxemb.run.files import RunError, Where, read_json, run_place, write_json
from jaxemb.run.metrics import read_rows
from jaxemb.views.base import Views

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

FREE = ("steps", "evals", "log_every", "save_every", "keep", "best", "mesh", "sharding", "expect")
"""Fields that may change between two starts of one run: how long, how it is watched, on how many devices.
The schedules follow the new number of steps."""


PRETRAINED = "pretrained.json"

EXPERIMENTS = ("jaxemb.experiment:Experiment", "jaxemb.train.recipe:Recipe")
"""What a config.json may hold."""


class Run:
    """A run folder by its path, "runs/digits" or with a step, "runs/digits@500"."""

    def __init__(self, path: Where):
        text = os.fspath(path)
        head, _, tail = text.rpartition("@")
        with_step = bool(head and re.fullmatch("[0-9]{1,12}", tail)) and not is_folder(run_place(text))
        self.path = run_place(head if with_step else text)
        self.step = int(tail) if with_step else None
        """The step that the path names, if it does."""

    # ---- reading -----------------------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """config.json as it stands."""
        file = self.path / "config.json"
        if not is_regular(file):
            here = sorted(str(p.parent) for p in Path("runs").glob("*/config.json"))
            known = f"; runs here: {', '.join(here)}" if here else ""
            what = "has no config.json, so it is no run folder" if is_folder(self.path) else "does not exist"
            raise RunError(f"{printable(self.path)} {what}{known}")
        config = read_json(file)
        if config.get("@") not in EXPERIMENTS:
            raise RunError(f"{file} is damaged: it holds no experiment")
        return config

    def experiment(self) -> Experiment:
        """The experiment, rebuilt from config.json."""
        return from_json(self.config())

    def preprocess(self) -> Preprocess:
        """How inputs become arrays, with what that has learnt; refused where its files are missing or changed."""
        try:
            return Preprocess.load(self.path / "assets")
        except DataError as e:
            raise RunError(f"{printable(self.path)} cannot be used: {e}") from e

    def restored(self, experiment: Any) -> Any:
        """The experiment or recipe with the preprocessing of this run; refused where its files are missing or changed."""
        assets = self.path / "assets"
        self.preprocess()
        data = experiment.data.restored(assets)
        # Data of the same kind that an evaluation brings along are read as the model learnt to read: with one tokenizer.
        evals = {}
        for name, e in experiment.evals.items():
            if e.data is not None and type(e.data) is type(experiment.data):
                evals[name] = dataclasses.replace(e, data=e.data.restored(assets))
        told = {"objective": told_statistics(experiment.objective, data.preprocess)} if hasattr(experiment, "objective") else {}
        return dataclasses.replace(experiment, data=data, evals={**experiment.evals, **evals}, **told)

    def checkpoints(self, say: Callable[[str], None] = print, **options: Any) -> Checkpoints:
        """The checkpoints of this run; `options` are those of `Checkpoints`."""
        return Checkpoints(self.path / "checkpoints", say=say, **options)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_rows(self.path)

    def figures(self, step: int) -> dict[str, float]:
        """All that metrics.jsonl says about a step."""
        return {k: v for row in self.metrics() if row["step"] == step for k, v in row.items() if k != "step" and v is not None}

    # ---- the training side -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def claimed(self, experiment: Any) -> Iterator[None]:
        """This folder for one experiment or recipe and this process alone: writes config.json and env.json, refuses another
        config."""
        doc = to_json(experiment)
        from_json(doc)  # what cannot be read back is refused before anything is trained
        with self._locked():
            trained = self._compare(doc)
            with self._written():
                write_json(self.path / "config.json", doc)
                if not trained:  # later on they stay what they were: `restored` refuses a run that has lost them
                    experiment.data.preprocess.save(self.path / "assets")
                    if getattr(experiment, "init", None) is not None:
                        experiment.init.keep(self.path)
                write_json(self.path / "env.json", self._environment(doc))
            yield

    def note(self, **facts: Any) -> None:
        """Adds to env.json what turned out in the meantime."""
        with self._written():
            write_json(self.path / "env.json", read_environment(self.path) | facts)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """No other process trains here."""
        try:
            with self._written(), reaching(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                lock = claim(self.path)
        except BlockingIOError as e:
            who = f" ({e})" if e.errno is None else ""
            raise RunError(
                f"another process is training in {self.path}{who}; wait for it, or name another folder with --run"
            ) from e
        with lock:
            yield

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as e:
            if isinstance(e, BlockingIOError) or (isinstance(e, ValueError) and type(e) is not ValueError):
                raise  # in use; or data that are missing. A bare ValueError is a name that no file can have.
            why = getattr(e, "strerror", None) or e
            raise RunError(f"the run folder {self.path} cannot be written: {why}; name another one with --run") from e

    def _compare(self, doc: dict[str, Any]) -> bool:
        """Whether something was trained here, with this config."""
        trained = self.checkpoints().steps() or any(row["step"] > 0 for row in self.metrics())
        if not trained or not is_regular(self.path / "config.json"):
            return False
        there, here = flatten(to_json(self.experiment())), flatten(doc)
        paths = [p for p in {**there, **here} if there.get(p) != here.get(p) and p.split(".")[0] not in FREE]
        if paths:
            lines = [f"  {p}: {there.get(p, 'not set')!r} there, {here.get(p, 'not set')!r} here" for p in paths]
            raise RunError(
                f"{self.path} belongs to another config, which differs in\n" + "\n".join(lines) + "\n"
                "Name another folder with --run, or go back to these values. "
                f"Between two starts of one run only these may change: {', '.join(FREE)}"
            )
        return True

    def _environment(self, doc: dict[str, Any]) -> dict[str, Any]:
        file = self.path / "env.json"
        before = read_environment(self.path) if file.exists() else {}
        earlier = [*before.pop("earlier", []), *([before] if before else [])]
        return environment() | {"packages": sorted(own_packages(doc)), "earlier": earlier}


def told_statistics(objective: Any, preprocess: Preprocess) -> Any:
    """The objective, whose views know how the data normalise images."""
    if not isinstance(preprocess, ImagePreprocess):
        return objective
    found = {name: x for name in fields(type(objective)) if isinstance(x := getattr(objective, name), Views)}
    views = {name: x.normalised_by(preprocess.mean, preprocess.std) for name, x in found.items()}
    return objective.clone(**views) if views else objective

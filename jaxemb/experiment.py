"""An experiment: one object that says everything about a run, and how the file that holds it is found."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from jaxemb import packages
from jaxemb.config import ConfigError, suggest, within
from jaxemb.data.base import Data
from jaxemb.evals.base import Eval
from jaxemb.files import is_regular
from jaxemb.objectives.base import Objective
from jaxemb.train.init import Init
from jaxemb.train.names import check_names
from jaxemb.train.optim import Optim
from jaxemb.train.probes import Probe
from jaxemb.train.recipe import Recipe
from jaxemb.train.rules import check_rules

__all__ = ["Experiment", "Recipe", "find", "replace"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained on what, how, and how it is judged. Swap a method by changing one field."""

    name: str
    objective: Objective
    data: Data
    optim: Optim = Optim()
    steps: int
    """Optimiser updates."""
    batch: int
    """Examples an update, over all devices and processes."""
    accumulate: int = 1
    """Micro-batches an update: the batch is cut into this many pieces, one after the other in memory."""
    seed: int = 0
    """Of initialisation, data order, masks and dropout."""
    ema: tuple[float, float] | None = None
    """Momentum of the averaged parameters at the first and (linearly) at the last step; None: no average is kept."""
    evals: Mapping[str, Eval] = field(default_factory=dict)
    log_every: int = 50
    """Steps between two lines of metrics.jsonl."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    """What is measured inside a step and stands in the lines as well, "name_figure" (`train/probes.py`)."""
    save_every: int = 500
    """Steps between two checkpoints; the last step is always saved."""
    keep: int = 3
    """The newest checkpoints to keep."""
    best: str | None = None
    """An evaluation figure, e.g. "knn/top1": the checkpoint with the highest one is kept as well. Its evaluation must not look at
    the split "test": what is chosen by test rows is not measured by them."""
    mesh: Mapping[str, int] = field(default_factory=lambda: {"data": -1})
    """Devices by axis (data, fsdp, model); one of them may be -1: all that are left."""
    sharding: str | tuple[tuple[str, str], ...] = "replicate"
    """How parameters are cut over the devices: a preset, "replicate", "fsdp" or "fsdp+tensor", or (regex of parameter paths, rule),
    of which the first match counts; see train/rules.py."""
    init: Init | None = None
    """What to start from: `FromRun("runs/shapes")`. None: the random initialisation."""
    expect: Mapping[str, float] = field(default_factory=dict)
    """Figures from a recorded run; tests/slow allows 0.03 less."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.batch % self.accumulate:
            raise ConfigError(f"batch {self.batch} cannot be cut into accumulate={self.accumulate} equal pieces")
        if self.ema and not all(0 <= m <= 1 for m in self.ema):
            raise ConfigError(f"ema must be two numbers in [0, 1], not {self.ema}")
        if self.objective.needs_average() and self.ema is None:
            raise ConfigError(
                f"ema: the targets of {type(self.objective).__name__} come from an average of its parameters, and none is kept: "
                "set ema=(0.996, 1.0), or (0.0, 0.0) for an average that is always the trained parameters themselves"
            )
        if self.best and self.best.split("/")[0] not in self.evals:
            raise ConfigError(f"best={self.best!r}: there is no such evaluation{suggest(self.best.split('/')[0], self.evals)}")
        within(self, steps=(1, 10**12), batch=(1, 10**8), log_every=(1, 10**12), save_every=(1, 10**12), keep=(1, 10**6))
        within(self, seed=(0, 2**32 - 1))
        check_names(self.name, self.evals)
        if self.best and self.evals[self.best.split("/")[0]].every < 1:
            raise ConfigError(
                f"best={self.best!r}: its evaluation runs at the end alone, so there is nothing to choose from; set evals."
                f"{self.best.split('/')[0]}.every"
            )
        if self.best and self.evals[self.best.split("/")[0]].split == "test":
            raise ConfigError(
                f"best={self.best!r}: its evaluation looks at the split 'test', and a checkpoint that test rows chose is not "
                f"measured by them: set evals.{self.best.split('/')[0]}.split to 'valid', and measure 'test' with another one"
            )
        check_rules(self.sharding)


def find(target: str) -> Experiment | Recipe:
    """The experiment that "FILE[:NAME]" names; NAME is `main` where it is left out."""
    file, _, name = target.partition(":")
    known, name = defined(file), name or "main"
    if not known:
        raise ConfigError(f"{file} defines no experiments")
    if name not in known:
        raise ConfigError(f"{file} defines no experiment {name!r}{suggest(name, known)}")
    return known[name]


def find_all(target: str) -> list[Experiment | Recipe]:
    """The experiments of FILE[:PATTERN]: one by its name, or all whose names a pattern with * or ? fits, in their order."""
    file, _, pattern = target.partition(":")
    if not set(pattern) & set("*?["):
        return [find(target)]
    known = defined(file)
    by_identity = {id(known[name]): known[name] for name in known if fnmatch.fnmatchcase(name, pattern)}  # `main` is one of them
    if not by_identity:
        raise ConfigError(f"{file} defines no experiments that fit {pattern!r}{suggest(pattern, known)}")
    return list(by_identity.values())


def defined(file: str) -> dict[str, Experiment | Recipe]:
    """{name: experiment} of a file, in its order: its variables, and the entries of its dicts that hold nothing else.

    The file is imported under its module name (`experiments.jepa.digits`), not run as a script: only so can a class that it
    defines be found again from a stored config.
    """
    path = Path(file)
    if path.suffix != ".py" or not is_regular(path):
        raise ConfigError(f"there is no experiment file {packages.shorten(file)}{_files_nearby(path)}")
    loaded = packages.import_file(path.resolve())
    if Path(loaded.__file__ or "").resolve() != path.resolve():
        raise ConfigError(
            f"{file} cannot be imported as {loaded.__name__!r}: that is {loaded.__file__}; give the file another name"
        )
    found: dict[str, Experiment | Recipe] = {}
    for name, value in vars(loaded).items():
        every = value if isinstance(value, dict) else {name: value}
        if every and all(isinstance(e, (Experiment, Recipe)) for e in every.values()):
            found |= every
    return found


def _files_nearby(path: Path) -> str:
    here = sorted(str(p) for p in Path("experiments").glob("*/*.py") if p.stem != "__init__")
    return suggest(str(path), here) if here else " (run from the repository root, which holds experiments/)"

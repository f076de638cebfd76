"""Where an experiment starts from, in place of its random initialisation."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax

from jaxemb.config import MANY, ConfigError
from jaxemb.files import is_regular, read_bytes
from jaxemb.run.checkpoint import Checkpoints
from jaxemb.run.folder import PRETRAINED, Run

Say = Callable[[str], None]


class SourceError(ValueError):
    """What an experiment starts from is not here, or cannot be read."""


@dataclasses.dataclass(frozen=True)
class Init(abc.ABC):
    """First values of arrays of the state. What it leaves out stays as initialised."""

    @abc.abstractmethod
    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, jax.Array]:
        """Values by path. `shapes` are those of the experiment with the place of each on the devices: "params/encoder/...", other
        collections under their own names, "batch_stats/encoder/...", and "ema/encoder/..." where an average is kept."""

    def keep(self, run: Any) -> None:  # noqa: B027  most keep nothing
        """Writes into a new run's folder what the run should know of its source later on, when that may be gone."""


def check_renames(renames: Iterable[tuple[str, str]]) -> None:
    """Refuses what is no regular expression among an `Init`'s (regex, replacement)."""
    for regex, _ in renames:
        try:
            re.compile(regex)
        except re.error as e:
            raise ConfigError(f"init.renames: {regex!r} is no regular expression: {e}") from None


@dataclasses.dataclass(frozen=True)
class FromRun(Init):
    """Parameters and other state (batch statistics, constants) of another run, by path.

    An experiment that keeps an average goes on with both of the source's, the trained parameters and the average. One that
    keeps none starts from the average where the source has one: from what its evaluations judged. What the source lacks stays as
    initialised and what it has beyond is left behind: the log names both. An array of another shape is refused.
    """

    path: str
    """A run folder, or one of its steps: "runs/shapes", "runs/shapes@500"."""
    step: int | None = None
    """None: the step that the path names, else the newest intact one."""
    renames: tuple[tuple[str, str], ...] = ()
    """(regex, replacement) on the source's paths, in any collection: ("^encoder/", "student/")."""

    def __post_init__(self) -> None:
        check_renames(self.renames)

    def __call__(self, shapes: Mapping[str, jax.ShapeDtypeStruct], say: Say = print) -> Mapping[str, jax.Array]:
        run = Run(self.path)
        run.config()  # what is no run folder is refused as such
        checkpoints = run.checkpoints(say)
        step = checkpoints.pick(run.step if self.step is None else self.step)
        there = self._renamed(stored(checkpoints, step, average="ema" in {p.split("/")[0] for p in shapes}))
        where = f"{self.path} at step {step}"
        missing = _once(p for p in shapes if p not in there)
        unexpected = _once(p for p in there if p not in shapes)
        wrong = _once(p for p in shapes if p in there and there[p].shape != shapes[p].shape)
        shared = [p for p in shapes if p in there]
        if wrong or not shared:
            raise ConfigError(f"init: {where} does not fit" + _mismatches(there, shapes, wrong, missing, unexpected))
        for name in dict.fromkeys(p.split("/")[0] for p in shapes):
            ours = [p for p in shapes if p.startswith(f"{name}/")]
            items = {there[p].item for p in ours if p in there}
            what = (
                "averaged parameters" if "ema" in items else {"params": "parameters", "ema": "averaged parameters"}.get(name, name)
            )
            say(f"{sum(p in there for p in ours)} of {len(ours)} {what} from {where}")
        for what, paths in (("as initialised", missing), ("left behind", unexpected)):
            if paths:
                say(f"{what}: {_listed(paths)}")
        found = {}
        for item in dict.fromkeys(there[p].item for p in shared):
            ours = {there[p].path: p for p in shared if there[p].item == item}
            read = checkpoints.read(step, item, {path: shapes[p] for path, p in ours.items()})
            found |= {ours[path]: x for path, x in read.items()}
        return found

    def keep(self, run: Any) -> None:
        if is_regular(file := Run(self.path).path / PRETRAINED):  # what that one started from
            (run / PRETRAINED).write_bytes(read_bytes(file))

    def _renamed(self, there: Mapping[str, Stored]) -> dict[str, Stored]:
        """`there` under the names that the experiment has for them."""
        found: dict[str, Stored] = {}
        for regex, _ in self.renames:
            if not any(re.search(regex, p.split("/", 1)[1]) for p in there):
                raise ConfigError(f"init.renames: {regex!r} finds nothing in {self.path}: {_listed(list(there))}")
        for path, entry in there.items():
            collection, name = path.split("/", 1)
            for regex, replacement in self.renames:
                name = re.sub(regex, replacement, name)
            if (new := f"{collection}/{name}") in found:
                raise ConfigError(f"init.renames: two arrays of {self.path} would be called {name}")
            found[new] = entry
        return found


class Stored(NamedTuple):
    """An array of a checkpoint."""

    item: str
    path: str
    shape: tuple[int, ...]


def stored(checkpoints: Checkpoints, step: int, *, average: bool) -> dict[str, Stored]:
    """What a checkpoint holds for a model, by collection and path. Without `average` its average stands for the parameters."""
    has_average = checkpoints.has(step, "ema")
    items = {"params": "ema" if has_average and not average else "params"} | ({"ema": "ema"} if has_average and average else {})
    found = {f"{name}/{p}": Stored(item, p, s) for name, item in items.items() for p, s in checkpoints.shapes(step, item).items()}
    if checkpoints.has(step, "stats"):
        found |= {p: Stored("stats", p, s) for p, s in checkpoints.shapes(step, "stats").items()}
    return found


def _mismatches(there: Mapping[str, Any], here: Mapping[str, Any], wrong: list, missing: list, unexpected: list) -> str:
    text = ": no path is the same" if not wrong else f"\n  {len(wrong)} arrays of another shape:"
    text += "".join(f"\n    {_short(p)}: {there[p].shape} there, {here[p].shape} here" for p in wrong[:MANY])
    text += f"\n    and {len(wrong) - MANY} more" if len(wrong) > MANY else ""
    for what, paths in (("missing there", missing), ("unexpected, not in this experiment", unexpected)):
        text += f"\n  {what}: {_listed(paths)}" if paths else ""
    return text


def _once(paths: Iterable[str]) -> list[str]:
    """Without those of the average, which says of no array what the parameters do not."""
    return [p for p in paths if not p.startswith("ema/")]


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - MANY} more" if len(paths) > MANY else ""
    return ", ".join(map(_short, paths[:MANY])) + more


def _short(path: str) -> str:
    """Parameters without the name of their collection."""
    return path.removeprefix("params/")


def check(found: Iterable[str], shapes: Mapping[str, Any]) -> None:
    """Refuses values for what the experiment does not have: the fault of an `Init`."""
    if unknown := [p for p in found if p not in shapes]:
        raise ConfigError(f"init gives values that this experiment has no place for: {_listed(unknown)}")

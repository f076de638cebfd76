"""Runs side by side: seeds as mean and deviation, the untrained encoder beside the trained one. Computes nothing anew."""

from __future__ import annotations

import csv
import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath

from jaxemb.config import ConfigError
from jaxemb.log.plot import choose_figures, group_by_seed, read_config
from jaxemb.run.environment import read_environment
from jaxemb.run.files import Where
from jaxemb.run.metrics import read_series


class Column(NamedTuple):
    """The figures of some seeds of one experiment at one step."""

    experiment: str
    runs: list[epath.Path]
    step: int
    figures: dict[str, list[float]]
    """A value a seed."""

    @property
    def title(self) -> str:
        return f"{self.experiment}, untrained" if self.step == 0 else f"{self.experiment}, step {self.step}"


def columns(runs: Sequence[Where], *, every_step: bool = False) -> list[Column]:
    """The runs grouped by seed, before training (step 0) and at the last step that all seeds have; or at all steps of figures."""
    found = []
    for name, group in group_by_seed(runs).items():
        metrics = [read_series(run) for run in group]
        judged = [{step for figure, series in m.items() if "/" in figure for step in series} for m in metrics]
        for run, there in zip(group, judged, strict=True):
            if not there:
                raise ConfigError(f"{run} has no figures of evaluations that could be compared")
        steps = sorted(set.intersection(*judged))
        if not steps:
            raise ConfigError(f"no step was evaluated in all of {', '.join(map(str, group))}")
        for step in steps if every_step else sorted({min(steps), max(steps)}):
            shared = {f for f in metrics[0] if all(step in m.get(f, {}) for m in metrics)}
            figures = {f: [m[f][step] for m in metrics] for f in metrics[0] if f in shared}
            found.append(Column(name, group, step, figures))
    return found


def rows(found: Sequence[Column], asked: Sequence[str] = ()) -> list[list[str]]:
    """A row a figure: its name, then mean and deviation over seeds for each column. By default what evaluations found."""
    every = list(dict.fromkeys(f for c in found for f in c.figures))
    names = choose_figures([set(every)], asked) if asked else [f for f in every if "/" in f]
    return [[name, *(spread(c.figures.get(name, [])) for c in found)] for name in names]


def transposed(found: Sequence[Column], asked: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """(header, a row an experiment), for many experiments and few figures: the last step of each."""
    last = {c.experiment: c for c in found}
    table = rows(list(last.values()), asked)
    header = ["experiment", *(row[0] for row in table)]
    return header, [[name, *cells] for name, *cells in zip(last, *(row[1:] for row in table), strict=True)]


def spread(values: Sequence[float]) -> str:
    """ "0.412 ± 0.008" (deviation between seeds), or the value alone."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


def write_csv(file: Path, found: Sequence[Column]) -> Path:
    """One line a figure and step: mean, deviation and value of each seed; commit, hash of the config, machine and command."""
    lines = []
    for column in found:
        about = _about(column.runs)
        for figure, values in column.figures.items():
            deviation = f"{statistics.stdev(values):.4g}" if len(values) > 1 else ""
            row: dict[str, Any] = {"experiment": column.experiment, "step": column.step, "figure": figure}
            row |= {"mean": f"{statistics.mean(values):.5g}", "std": deviation, "values": " ".join(f"{v:.5g}" for v in values)}
            lines.append(row | about)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "w", newline="") as out:
            writer = csv.DictWriter(out, lines[0])
            writer.writeheader()
            writer.writerows(lines)
    except OSError as e:
        raise ConfigError(f"{file} cannot be written: {e.strerror}") from e
    return file


def _about(runs: Sequence[epath.Path]) -> dict[str, str]:
    configs, environments = [read_config(run) for run in runs], [read_environment(run) for run in runs]
    without_seed = json.dumps({k: v for k, v in configs[0].items() if k != "seed"}, sort_keys=True)

    def each(name: str) -> str:
        return " | ".join(dict.fromkeys(str(e.get(name)) for e in environments))

    commits = dict.fromkeys(f"{str(e.get('commit'))[:9]}{'+' if e.get('dirty') else ''}" for e in environments)
    return {
        "seeds": " ".join(str(c["seed"]) for c in configs),
        "config": hashlib.blake2b(without_seed.encode(), digest_size=6).hexdigest(),
        "commit": " ".join(commits),
        "machine": each("machine"),
        "devices": " | ".join(dict.fromkeys(f"{len(e['devices'])} x {e['devices'][0]}" for e in environments)),
        "jax": " ".join(dict.fromkeys(str(e.get("versions", {}).get("jax", "")) for e in environments)),
        "command": each("command"),
    }

"""Choosing a run of a sweep without labels: what a figure such as RankMe picks, against the best by accuracy."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxemb.config import ConfigError, flatten
from jaxemb.log.compare import Column, columns, spread
from jaxemb.log.plot import read_config
from jaxemb.run.files import Where


class Candidate(NamedTuple):
    """One setting of a sweep."""

    name: str
    settings: dict[str, Any]
    """The fields that differ within the sweep."""
    signal: dict[int, float]
    """What is picked by, a value a seed."""
    accuracy: dict[int, float]


class Report(NamedTuple):
    """What picking by the signal costs, seed by seed; accuracies as they are."""

    candidates: list[Candidate]
    """From the largest signal to the smallest."""
    picks: dict[int, str]
    oracles: dict[int, str]
    cost: dict[int, float]
    """The best accuracy less that of the pick."""
    range: dict[int, float]
    """The best accuracy less the worst: what is at stake."""
    spearman: dict[int, float]
    """Rank correlation of signal and accuracy."""


def pick(runs: Sequence[Where], *, by: str, oracle: str, plateau: float = 0.0) -> Report:
    """Of the runs of ONE method, picks the one with the largest `by`, for each seed, and compares it with the best by `oracle`.

    With `plateau`, settings whose signal is within that share of the largest count as equal, and of them the one furthest out in
    the sweep is picked (as the RankMe paper has it); the sweep must then be one of a single number.
    """
    found = [c for c in {c.experiment: c for c in columns(runs)}.values()]  # the last step of each
    if len(found) < 2:
        raise ConfigError(f"a pick needs runs of two settings or more, these are all {found[0].experiment}")
    settings = _differing(found)
    candidates = [
        Candidate(c.experiment, s, *(_by_seed(c, figure) for figure in (by, oracle))) for c, s in zip(found, settings, strict=True)
    ]
    seeds = sorted(set.intersection(*(set(c.signal) for c in candidates)))
    if not seeds:
        raise ConfigError("no seed was run with every setting: nothing to pick from")
    report = Report(sorted(candidates, key=lambda c: -statistics.mean(c.signal.values())), {}, {}, {}, {}, {})
    for seed in seeds:
        signal, accuracy = (np.array([getattr(c, name)[seed] for c in candidates]) for name in ("signal", "accuracy"))
        chosen = _chosen(signal, candidates, plateau)
        report.picks[seed], report.oracles[seed] = candidates[chosen].name, candidates[int(accuracy.argmax())].name
        report.cost[seed] = float(accuracy.max() - accuracy[chosen])
        report.range[seed] = float(accuracy.max() - accuracy.min())
        report.spearman[seed] = rank_correlation(signal, accuracy)
    return report


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; ties share their mean rank. NaN where one of the two is constant."""
    from scipy.stats import spearmanr

    return float("nan") if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.asarray(spearmanr(a, b))[0])


def lines(report: Report, by: str, oracle: str) -> tuple[list[str], list[list[str]]]:
    """(header, a row a setting): how often it was the pick and the best of its seed."""
    rows = []
    for c in report.candidates:
        picked, best = (sum(n == c.name for n in names.values()) for names in (report.picks, report.oracles))
        changed = " ".join(f"{k}={v}" for k, v in c.settings.items())
        rows.append([c.name, changed, spread([*c.signal.values()]), spread([*c.accuracy.values()]), str(picked), str(best)])
    return ["experiment", "setting", f">{by}", f">{oracle}", ">picked", ">best"], rows


def verdict(report: Report) -> str:
    """What it comes to, over seeds."""
    cost, at_stake, rank = (spread([*x.values()]) for x in (report.cost, report.range, report.spearman))
    return f"best less picked: {cost} (best less worst: {at_stake}); Spearman {rank}; {len(report.picks)} seeds"


def _by_seed(column: Column, figure: str) -> dict[int, float]:
    if figure not in column.figures:
        there = sorted(name for name in column.figures if "/" in name)
        raise ConfigError(f"{column.experiment} has no figure {figure!r}; it has {', '.join(there)}")
    return dict(zip([read_config(run)["seed"] for run in column.runs], column.figures[figure], strict=True))


def _chosen(signal: np.ndarray, candidates: Sequence[Candidate], plateau: float) -> int:
    if not plateau:
        return int(signal.argmax())
    swept = {name for c in candidates for name in c.settings}
    values: list[Any] = [next(iter(c.settings.values()), None) for c in candidates]
    if len(swept) != 1 or not all(isinstance(v, (int, float)) for v in values):
        raise ConfigError(f"plateau={plateau} needs a sweep of a single number, these runs differ in {', '.join(sorted(swept))}")
    place = np.argsort(np.argsort(values))
    near = signal >= signal.max() * (1 - plateau)
    return int(np.where(near, np.abs(place - (len(place) - 1) / 2), -1.0).argmax())


def _differing(found: Sequence[Column]) -> list[dict[str, Any]]:
    """Of each setting, the fields that not all have alike."""
    configs = [flatten(read_config(c.runs[0])) for c in found]
    configs = [{k: v for k, v in config.items() if k not in ("name", "seed")} for config in configs]
    every = dict.fromkeys(name for config in configs for name in config)
    changed = [n for n in every if len({json.dumps(c.get(n), default=str) for c in configs}) > 1]
    return [{n.removeprefix("objective."): c[n] for n in changed if n in c} for c in configs]

"""Figures of several seeds as a table with a row a figure: the mean, the values and the seeds, as claims read them."""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = tuple[str, str, int, str, float]
"""Data or part of the experiment, system, seed, figure, value."""
COLUMNS = ("part", "system", "figure", "mean", "values", "seeds", "command")


def write(rows: Sequence[Row], out: Path, command: str) -> None:
    """Writes the table and prints it."""
    for part, system, figure, mean, values, *_ in save(rows, out, command):
        print(f"{part:<12} {system:<26} {figure:<24} {float(mean):9.4g}   {values}")


def save(rows: Sequence[Row], out: Path, command: str) -> list[tuple[str, ...]]:
    """Writes the table, and gives its lines."""
    held: dict[tuple[str, str, str], dict[int, float]] = {}
    for part, system, seed, figure, value in rows:
        held.setdefault((part, system, figure), {})[seed] = value
    found = []
    for names, values in held.items():
        mean, shown = f"{np.mean([*values.values()]):.4g}", " ".join(f"{v:.4g}" for v in values.values())
        found.append((*names, mean, shown, " ".join(map(str, values)), command))
    with out.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(found)
    return found


def gather(
    arms: Sequence[tuple[str, str, Any]],
    seeds: int,
    figures: Callable[[Any, int], Mapping[str, float]],
    out: Path,
    command: str,
) -> list[Row]:
    """The figures of each arm (part, system, what `figures` is given) and seed; the table is written anew after each."""
    rows: list[Row] = []
    for seed in range(seeds):
        for part, system, arm in arms:
            began = time.perf_counter()
            found = figures(arm, seed)
            rows += [(part, system, seed, name, float(value)) for name, value in found.items()]
            save(rows, out, command)
            shown = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
            print(f"seed {seed}  {system:28} {shown}  {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def table_of(
    name: str,
    about: str | None,
    part: str,
    arms: Mapping[str, Any],
    study: Callable[[Any, int, Any], Mapping[str, float]],
    option: tuple[str, float, str],
    out: Path,
    argv: Sequence[str] | None,
) -> None:
    """The command line of a study: its arms with some seeds, and `option` (name, default, help), which `study` is given last."""
    known, default, meaning = option
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=";".join(arms), help="some of them, between semicolons")
    parser.add_argument(f"--{known}", type=type(default), default=default, help=meaning)
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args(argv)
    chosen = [(part, arm, arms[arm]) for arm in args.arms.split(";")]
    refuse_trial(parser, args, "arms", known)
    gather(chosen, args.seeds, lambda arm, seed: study(arm, seed, getattr(args, known)), args.out, command_of(name, argv))


def command_of(name: str, argv: Sequence[str] | None = None, folder: str = "text") -> str:
    """The command that makes a table of a `folder` of experiments: the options as they were given, of folders elsewhere the last
    part."""
    given = sys.argv[1:] if argv is None else argv
    return shlex.join(
        ["python", "-m", f"experiments.{folder}.{name}", *(Path(x).name if Path(x).is_absolute() else x for x in given)]
    )


def refuse_trial(parser: argparse.ArgumentParser, args: argparse.Namespace, *options: str) -> None:
    """Ends where a trial, of fewer seeds or with other numbers, would be written over the published table."""
    fewer = ["seeds"] * (args.seeds < parser.get_default("seeds"))
    for option in [*fewer, *(name for name in options if getattr(args, name) != parser.get_default(name))]:
        if args.out == parser.get_default("out"):
            parser.error(
                f"with --{option} it is another table than the published one, {args.out.name}; name its file, --out FILE.csv"
            )


def means(rows: Sequence[Row]) -> dict[tuple[str, str, str], float]:
    """The mean over the seeds of each (part, system, figure)."""
    held: dict[tuple[str, str, str], list[float]] = {}
    for part, system, _, figure, value in rows:
        held.setdefault((part, system, figure), []).append(value)
    return {names: float(np.mean(values)) for names, values in held.items()}

"""Figures of several seeds as a table with a row a figure: the mean, the values and the seeds, as claims read them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Row = tuple[str, str, int, str, float]
"""Data or part of the experiment, system, seed, figure, value."""


def write(rows: Sequence[Row], out: Path, command: str) -> None:
    """Writes the table and prints it."""
    held: dict[tuple[str, str, str], dict[int, float]] = {}
    for part, system, seed, figure, value in rows:
        held.setdefault((part, system, figure), {})[seed] = value
    with out.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("part", "system", "figure", "mean", "values", "seeds", "command"))
        for (part, system, figure), found in held.items():
            values, seeds = (" ".join(x) for x in ([f"{v:.4g}" for v in found.values()], map(str, found)))
            lines.writerow((part, system, figure, f"{np.mean([*found.values()]):.4g}", values, seeds, command))
            print(f"{part:<12} {system:<26} {figure:<24} {np.mean([*found.values()]):9.4g}   {values}")

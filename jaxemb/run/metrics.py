"""metrics.jsonl of a run folder: one object a line, {"step": s, name: value, ...}."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxemb import files
from jaxemb.run.files import RunError, Where

Series = dict[int, float]
"""Step -> value."""

LARGEST = 2**31
"""Bytes of a metrics.jsonl that are read."""

LONGEST = 200
"""Characters in the name of a figure."""

log = logging.getLogger("jaxemb")


def read_rows(folder: Where) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl: numbers and None by name, with the step.

    A last line that a killed process left half-written is left out; damaged ones before it as well, and said. What is no
    number, or not finite, is None.
    """
    path = epath.Path(folder) / "metrics.jsonl"
    if not files.is_regular(path):
        return []
    lines = files.read_text(path, LARGEST).split("\n")
    rows = [row for line in lines if (row := read_row(line)) is not None]
    if bad := [i for i, line in enumerate(lines[:-1], 1) if line.strip() and read_row(line) is None]:
        log.warning("%s: %d damaged lines are left out, the first is line %d", files.printable(path), len(bad), bad[0])
    return rows


class Tally:
    """How many lines were written, and a checksum of them: a checkpoint keeps it, so that lines that went astray are missed."""

    def __init__(self) -> None:
        self._rows, self._sum = 0, hashlib.blake2b(digest_size=8)

    def add(self, line: str) -> None:
        self._rows += 1
        self._sum.update(line.encode())

    def state(self) -> dict[str, Any]:
        return {"rows": self._rows, "checksum": self._sum.hexdigest()}


def changed(folder: Where, step: int, tally: dict[str, Any] | None) -> str | None:
    """What metrics.jsonl up to a step has against the tally of the checkpoint of that step, in words."""
    if not tally:
        return None
    found = Tally()
    for row in read_rows(folder):
        if row["step"] <= step:
            found.add(write_row(row))
    now = found.state()
    if now == tally:
        return None
    what = "differs in its lines" if now["rows"] == tally["rows"] else f"holds {now['rows']} instead of {tally['rows']} lines"
    return f"metrics.jsonl {what} up to step {step}: it has changed since that checkpoint was saved"


def write_row(row: Mapping[str, Any]) -> str:
    """The line of a row."""
    return json.dumps(row) + "\n"


def read_row(line: str) -> dict[str, Any] | None:
    """A line, or None where it is no object with a step."""
    try:
        row = files.parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or row["step"] < 0:
        return None
    figures = {name: value for name, value in row.items() if name.isprintable() and 0 < len(name) <= LONGEST and name != "step"}
    number = {name: type(v) in (int, float) and math.isfinite(v) for name, v in figures.items()}
    return {"step": row["step"]} | {name: float(v) if number[name] else None for name, v in figures.items()}


def read_series(folder: Where) -> dict[str, Series]:
    """One series a figure; what was not finite leaves a gap."""
    if not files.is_regular(epath.Path(folder) / "metrics.jsonl"):
        raise RunError(f"{files.printable(folder)} is no run folder: it has no metrics.jsonl")
    series: dict[str, Series] = {}
    for row in read_rows(folder):
        for name, value in row.items():
            if name != "step" and value is not None:
                series.setdefault(name, {})[row["step"]] = value
    return series

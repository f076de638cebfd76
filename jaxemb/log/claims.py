"""What papers say and what was measured here: rows of results/claims.csv, each figure recomputed from the table that it names."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxemb.config import ConfigError, suggest

VERDICTS = {
    "holds": "seen here",
    "in part": "seen here under some conditions, or smaller",
    "not here": "measured here, and not seen",
    "not tried": "could be measured here, and was not yet",
    "cannot be tried here": "needs data, models or machines that are not at hand",
}
STATES = ("", "before the mended random streams")
"""Of a figure: as the code is today, or taken when masks were drawn from correlated random numbers, to be taken again."""


class Claim(NamedTuple):
    """One row. Where `csv` is empty nothing was measured."""

    system: str
    """Methods by their names in `jaxemb list`, separated by blanks."""
    paper: str
    claim: str
    claimed: str
    """The paper's number in its own units; "?" where its text was not obtained."""
    experiment: str
    csv: str
    """A table of results/."""
    filter: str
    """Conditions `column=value` that one row of the table meets."""
    against: str
    """Conditions that differ for the row whose figure is taken off; empty: the figure as it is."""
    figure: str
    """A column of the table."""
    value: str
    """The figure, or the difference; written by `jaxemb claims --update`."""
    seeds: str
    """How many; likewise."""
    state: str
    verdict: str
    sentence: str


def results() -> Path:
    """results/ beside the package, in a checkout."""
    return Path(__file__).resolve().parents[2] / "results"


def read(file: Path) -> list[Claim]:
    """The rows of a table of claims, each checked."""
    if not file.is_file():
        raise ConfigError(f"there is no {file}: claims are kept in a checkout of the repository; name another with --file")
    with file.open(newline="", encoding="utf-8") as f:
        lines = csv.DictReader(f)
        if tuple(lines.fieldnames or ()) != Claim._fields:
            raise ConfigError(f"{file}: the columns must be {', '.join(Claim._fields)}, are {', '.join(lines.fieldnames or ())}")
        found = []
        for line in lines:
            if None in line or None in line.values():
                raise ConfigError(f"{file}, line {lines.line_num}: has not {len(Claim._fields)} cells")
            found.append(_checked(Claim(**line), f"{file}, line {lines.line_num}"))
    return found


def _checked(c: Claim, where: str) -> Claim:
    if c.verdict not in VERDICTS:
        raise ConfigError(f"{where}: verdict {c.verdict!r} is none{suggest(c.verdict, VERDICTS)}")
    if c.state not in STATES:
        raise ConfigError(f"{where}: state {c.state!r} is none; valid: {' or '.join(map(repr, STATES))}")
    if empty := [name for name in ("system", "paper", "claim", "sentence") if not getattr(c, name)]:
        raise ConfigError(f"{where}: {empty[0]} is empty")
    if bool(c.csv) != (c.verdict in ("holds", "in part", "not here")):
        raise ConfigError(f"{where}: a verdict of {c.verdict!r} {'needs a' if not c.csv else 'has no'} csv")
    return c


def measure(c: Claim, folder: Path) -> tuple[str, str]:
    """(value, seeds) of a claim, from its table."""
    wanted = _conditions(c.filter)
    row = _row(folder, c, wanted)
    value = float(row[c.figure])
    if c.against:
        value -= float(_row(folder, c, wanted | _conditions(c.against))[c.figure])
    seeds = str(len(row["seeds"].split())) if "values" in row else row.get("seeds", "1")
    return f"{value:.4g}", seeds


def _conditions(text: str) -> dict[str, str]:
    parts = [p.partition("=") for p in shlex.split(text)]
    if bad := [name for name, sign, _ in parts if not sign]:
        raise ConfigError(f"{text!r}: {bad[0]!r} is not of the form column=value")
    return {name: value for name, _, value in parts}


def _row(folder: Path, c: Claim, wanted: Mapping[str, str]) -> dict[str, str]:
    """The one row that meets the conditions; `csv` among them names another table."""
    file = folder / wanted.get("csv", c.csv)
    if not file.is_file():
        raise ConfigError(f"{c.system}: there is no {file}")
    with file.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    columns = list(rows[0]) if rows else []
    conditions = {k: v for k, v in wanted.items() if k != "csv"}
    for name in (*conditions, c.figure):
        if name not in columns:
            raise ConfigError(f"{c.system}: {file.name} has no column {name!r}{suggest(name, columns)}")
    found = [r for r in rows if all(r[k] == v for k, v in conditions.items())]
    if len(found) != 1:
        raise ConfigError(f"{c.system}: {len(found)} rows of {file.name} meet {conditions}, one must")
    return found[0]


def update(file: Path) -> list[Claim]:
    """Writes the figures of all claims anew; returns those that changed. Verdicts and sentences are for a human to read again."""
    before = read(file)
    after = [c._replace(**dict(zip(("value", "seeds"), measure(c, file.parent), strict=True))) if c.csv else c for c in before]
    with file.open("w", newline="", encoding="utf-8") as f:
        lines = csv.writer(f, lineterminator="\n")
        lines.writerow(Claim._fields)
        lines.writerows(after)
    return [new for old, new in zip(before, after, strict=True) if old != new]


def missing(claims: Iterable[Claim], systems: Iterable[str]) -> list[str]:
    """The systems without a row."""
    told = {name for c in claims for name in c.system.split()}
    return sorted({*systems} - told)


def matching(claims: Sequence[Claim], pattern: str) -> list[Claim]:
    """Those whose system, paper, claim, experiment or verdict has the pattern in it."""
    text = pattern.lower()
    return [c for c in claims if any(text in x.lower() for x in (c.system, c.paper, c.claim, c.experiment, c.verdict))]


def measured(c: Claim) -> str:
    """The figure, with its sign where it is a difference, and the seeds."""
    if not c.csv:
        return ""
    value = f"{float(c.value):+.4g}" if c.against else c.value
    return f"{value} ({c.seeds} seed{'s' if c.seeds != '1' else ''})"


def notes(claims: Sequence[Claim]) -> list[str]:
    """What a reader of rows of a table should know of them: signs, marks, and how many have each verdict."""
    counts = {v: sum(c.verdict == v for c in claims) for v in VERDICTS}
    lines = [f"{n:4d} {v}: {VERDICTS[v]}" for v, n in counts.items() if n]
    if any(c.csv for c in claims):
        lines.append("Measured here: accuracies are shares, a figure with a sign is a difference; docs/claims.md names the tables.")
    if any(c.claimed == "?" for c in claims):
        lines.append("?: the paper's text was not obtained.")
    if any(c.state for c in claims):
        lines.append("*: taken when the masks of single-process runs were drawn from correlated random numbers; to be taken again.")
    return lines


def markdown(claims: Sequence[Claim], absent: Sequence[str]) -> str:
    """docs/claims.md."""
    counts = {v: sum(c.verdict == v for c in claims) for v in VERDICTS}
    lines = [
        "# Claims",
        "",
        "What papers say, and what was measured here. Made by `jaxemb claims --markdown` (`make docs`) from",
        "`results/claims.csv`; a test recomputes every figure from the table that it names. Accuracies are shares, a figure with",
        "a sign is a difference.",
        "",
        *(f"- **{v}** ({n}): {VERDICTS[v]}" for v, n in counts.items()),
        "",
        f'"{STATES[1]}": taken when the masks of single-process runs were drawn from correlated random numbers; to be taken again.',
    ]
    for paper in dict.fromkeys(c.paper for c in claims):
        lines += ["", f"## {paper}", "", "| system | claim | claimed | measured here | verdict | |", "|---|---|---|---|---|---|"]
        for c in claims:
            if c.paper == paper:
                state = f", {c.state}" if c.state else ""
                where = f"[`{c.csv}`](../results/{c.csv}): {measured(c)}{state}" if c.csv else ""
                cells = (c.system, c.claim, c.claimed, where, c.verdict, c.sentence)
                lines.append("| " + " | ".join(x.replace("|", "\\|") for x in cells) + " |")
    lines += ["", "## Missing", "", f"Without a row: {', '.join(absent)}." if absent else "Every system has a row."]
    return "\n".join(lines)

"""A plan as tables, JSON, and a row of a CSV."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epath

from jaxemb.aot.plan import Plan
from jaxemb.aot.sweep import Tried, shown
from jaxemb.aot.topology import Topology, named
from jaxemb.config import ConfigError, to_json
from jaxemb.log.table import number, say, size, table
from jaxemb.run.environment import environment
from jaxemb.run.files import write_json

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment

SHOWN = 12
"""Collectives in the printed table; the file has all."""
LEVEL = 0.01
"""Parts of the memory below this share of it are not printed."""


def verdict(p: Plan) -> str:
    """One line."""
    if p.fits is None:
        return "no published memory to hold it against"
    room = f"{gigabytes(p.available)} GB that a program can have on a chip"
    if p.fits:
        return f"fits: {gigabytes(p.needed)} of {room}"
    needs = f": {gigabytes(p.needed)}" if p.needed else ""
    return f"does not fit{needs} of {room}" + (f"; the compiler says: {p.failure}" if p.failure else "")


def show(p: Plan) -> None:
    """To standard output."""
    say(f"\n{p.program}, {p.rows} examples on {p.topology} ({p.chips} chips), mesh {shown(p.mesh)}", "bold")
    total = sum(p.memory.values())
    rows = [(name, f"{size(n)}B") for name, n in p.memory.items() if n >= LEVEL * total]
    table(("memory of a chip", ">bytes"), [*rows, ("in all", f"{size(total)}B")])
    say(verdict(p), "bold" if p.fits in (True, None) else "bold red")
    if p.collectives:
        say("")
        found = [
            (c.kind, "+".join(c.axes), len(c.group), f"{size(c.size)}B", c.count, f"{size(c.count * c.sent)}B")
            for c in p.collectives
        ]
        table(("collective", "mesh axes", ">chips", ">size", ">times", ">a chip sends"), found[:SHOWN])
        if len(found) > SHOWN:
            say(f"and {len(found) - SHOWN} smaller ones")
    say("")
    extra = p.executed_flops / p.model_flops - 1 if p.model_flops else 0
    says = [("model FLOPs", f"{size(p.model_flops)}FLOP"), ("computed", f"{size(p.executed_flops)}FLOP ({100 * extra:+.0f} %)")]
    says += [] if p.moved is None else [("moved by a chip", f"{size(p.moved)}B")]
    if p.roofline is not None and p.failure:
        says += [("least time of the FLOPs alone", milliseconds(p.roofline.compute))]
    elif p.roofline is not None:
        says += [(f"least time, {name}", milliseconds(t)) for name, t in sorted(p.roofline.terms.items(), key=lambda x: -x[1])]
        says += [("roofline", f"{milliseconds(p.roofline.seconds)}, bound by {p.roofline.bound}")]
        says += [("", f"{size(p.rows / p.roofline.seconds)}examples/s at most, MFU at most {100 * (p.mfu or 0):.1f} %")]
    says += [("compiled in", f"{p.compile_seconds:.0f} s")]
    table(("arithmetic", ""), says)
    if p.guessed:
        say(f"counted as one turn, since their length is not in the program: {', '.join(p.guessed)}")


def show_sweep(tried: Sequence[Tried]) -> None:
    """The candidates of a sweep, and the best of them."""

    def cells(t: Tried) -> tuple[object, ...]:
        p, mesh = t.plan, shown(t.mesh)
        if p is None:
            return (mesh, t.remat or "none", t.batch, "no", "", "", "", t.why)
        fits = {True: "yes", False: "no", None: "unknown"}[p.fits]
        if p.roofline is None or p.fits is False:
            return (mesh, t.remat or "none", t.batch, fits, gigabytes(p.needed), "", "", refusal(p))
        per = f"{1e6 * t.seconds:.4g}"
        return (mesh, t.remat or "none", t.batch, fits, gigabytes(p.needed), per, f"{100 * (p.mfu or 0):.1f} %", p.roofline.bound)

    table(("mesh", "remat", ">batch", "fits", ">GB a chip", ">us an example", ">MFU at most", "bound by"), map(cells, tried))
    best = next((t for t in tried if math.isfinite(t.seconds)), None)
    if best is None:
        if any(t.plan and t.plan.fits is None for t in tried):
            say("no published memory and peak to hold them against: none is called the best", "bold")
        else:
            say("none of them fits" if any(t.plan for t in tried) else "none of them could be compiled", "bold red")
        return
    mesh = ", ".join(f'"{axis}": {n}' for axis, n in best.mesh.items())
    say(f"lowest roofline an example: --set 'mesh={{{mesh}}}' --set batch={best.batch}, remat {best.remat or 'none'}", "bold")


def refusal(p: Plan) -> str:
    """Why a plan does not fit; nothing where that is not known."""
    return p.failure[:60] if p.failure or p.fits is not False else f"needs {gigabytes(p.needed)} of {gigabytes(p.available)} GB"


def sources(plans: Iterable[Plan]) -> list[str]:
    """Where the figures of the chips come from."""
    chips = {c.name: c for p in plans if (c := named(p.topology)[0]) is not None}
    return [f"{name}: {c.source}; memory for a program: libtpu's own limit" for name, c in sorted(chips.items())]


def record(experiment: Experiment, plans: Sequence[Plan], refused: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What the JSON file says; `refused`: the candidates of sweeps that have no plan, by `without_plan`."""
    found = {"experiment": experiment.name, "plans": [p.to_json() for p in plans], "refused": list(refused)}
    return found | {"config": to_json(experiment)} | environment()


def without_plan(there: Topology, t: Tried) -> dict[str, Any]:
    """A candidate of a sweep, and why it has no plan."""
    return {"topology": there.name, "chips": there.chips, "mesh": t.mesh, "remat": t.remat, "batch": t.batch, "why": t.why}


def default_file(experiment: Experiment, topologies: Sequence[str]) -> str:
    names = "_".join(re.sub(r"\W+", "-", t) for t in topologies)
    return f"runs/compile/{experiment.name}_{names}.json"


def write(file: str, doc: Mapping[str, Any]) -> None:
    path = epath.Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, doc)


COLUMNS: Sequence[str] = (
    "experiment topology chips program batch mesh sharding remat accumulate fits gb_a_chip gb_available gb_parameters gb_average "
    "gb_optimiser gb_temporaries model_tflop computed_tflop gb_moved gb_sent compute_ms memory_ms links_ms roofline_ms bound "
    "mfu_bound compile_s arithmetic commit machine command"
).split()


def row(experiment: Experiment, p: Plan, about: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the CSV; sizes in 10^9 bytes."""
    r, memory = p.roofline, p.memory
    held = {f"gb_{name}": gigabytes(memory.get(name, 0)) for name in ("parameters", "average", "optimiser")}
    known = r is not None and not p.failure
    links = max(r.axes.values(), default=0.0) if r is not None and known else None
    return {
        "topology": p.topology,
        "chips": p.chips,
        "program": p.program,
        "batch": p.rows,
        "mesh": axes(p.mesh),
        "remat": p.remat or "none",
        **fixed(experiment, about),
        "fits": {True: "yes", False: "no", None: ""}[p.fits],
        "gb_a_chip": gigabytes(p.needed),
        "gb_available": gigabytes(p.available),
        **held,
        "gb_temporaries": gigabytes(memory.get("activations and temporaries")),
        "model_tflop": rounded(p.model_flops / 1e12),
        "computed_tflop": rounded(p.executed_flops / 1e12),
        "gb_moved": gigabytes(p.moved),
        "gb_sent": gigabytes(sum(c.count * c.sent for c in p.collectives)) if known else "",
        "compute_ms": rounded(r and 1e3 * r.compute),
        "memory_ms": rounded(1e3 * r.memory) if r is not None and known else "",
        "links_ms": rounded(None if links is None else 1e3 * links),
        "roofline_ms": rounded(r and 1e3 * r.seconds),
        "bound": r.bound if r is not None else "",
        "mfu_bound": rounded(p.mfu),
        "compile_s": rounded(p.compile_seconds),
        "arithmetic": "state and compute alone: no program" if p.failure else "",
    }


def row_refused(experiment: Experiment, candidate: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the CSV for what `without_plan` says."""
    known = {name: candidate[name] for name in ("topology", "chips", "batch")} | {"program": "train step", "fits": "no"}
    tried = {"mesh": axes(candidate["mesh"]), "remat": candidate["remat"] or "none", "arithmetic": f"none: {candidate['why']}"}
    return dict.fromkeys(COLUMNS, "") | known | tried | fixed(experiment, about)


def fixed(experiment: Experiment, about: Mapping[str, Any]) -> dict[str, Any]:
    """What all rows of a command share."""
    rules = experiment.sharding
    return {
        "experiment": experiment.name,
        "sharding": rules if isinstance(rules, str) else " ".join(":".join(x) for x in rules),
        "accumulate": experiment.accumulate,
        "commit": (about.get("commit") or "")[:12],
        "machine": about.get("machine", ""),
        "command": about.get("command", ""),
    }


def axes(mesh: Mapping[str, int]) -> str:
    return " ".join(f"{axis}={n}" for axis, n in mesh.items() if n != 1)


def is_new(file: str) -> bool:
    """Whether a table has no header yet; refuses one of another kind."""
    path = Path(file)
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open(encoding="utf-8", errors="replace") as f:
        if f.readline().rstrip("\n") != ",".join(COLUMNS):
            raise ConfigError(f"--csv {file}: that is another table; name a new file")
    return False


def append_csv(file: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """At the end of a table; the header where there is none."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = is_new(file)
    with path.open("a", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            out.writeheader()
        out.writerows(rows)


def gigabytes(n: int | float | None) -> str:
    return "" if n is None else number(n / 1e9)


def milliseconds(t: int | float) -> str:
    return f"{number(1e3 * t)} ms"


def rounded(x: int | float | None) -> str:
    return "" if x is None else number(x)

"""Reads trained runs at longer inputs with every way to extend their positions; nothing is trained.

    python -m experiments.posemb.extend runs/retrieval runs/retrieval-seed1 runs/retrieval-seed2 --out results/posemb_retrieval

The runs are seeds of one experiment whose positional embedding is `Rotary` or `Learned`, and whose evaluation `longer`
extrapolates in length. Writes OUT.csv and OUT.png and prints a Markdown table. The settings for twice, four and eight
times the training length are those of LongEmbed, in proportion.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from jaxemb import evaluate
from jaxemb.config import to_json
from jaxemb.log.compare import Column, transposed, write_csv
from jaxemb.log.plot import lines
from jaxemb.posemb import NTK, DynamicNTK, Grouped, Interpolated, Learned, LogitScale, PosEmb, Recurrent, SelfExtend, YaRN
from jaxemb.run.folder import Run

NTK_LAMBDA = {2: 3.0, 4: 5.0, 8: 10.0}
GROUP_WINDOW = {2: (3, 1 / 2), 4: (5, 1 / 4), 8: (9, 1 / 8)}
"""g, and w as a share of the training length."""


def extensions(of: Any, length: int, factor: int) -> dict[str, PosEmb]:
    """Ways to read positions up to factor * length, by name."""
    shared = {"Interpolated": Interpolated(of=of, factor=factor), "Grouped": Grouped(of=of, factor=factor)}
    shared["Recurrent"] = Recurrent(of=of, original=length)
    if isinstance(of, Learned):
        return shared
    group, share = GROUP_WINDOW[factor]
    extend = SelfExtend(of=of, group=group, window=int(share * length), original=length)
    return {
        "as it is": of,
        **shared,
        "NTK": NTK(of=of, lam=NTK_LAMBDA[factor]),
        "DynamicNTK": DynamicNTK(of=of, factor=factor, original=length),
        "YaRN": YaRN(of=of, factor=factor, original=length),
        "SelfExtend": extend,
        "SelfExtend, LogitScale": LogitScale(of=extend, original=length),
    }


def read(run: Path) -> dict[str, dict[str, float]]:
    """The figures of one run: scheme -> figure of each factor."""
    experiment: Any = Run(run).experiment()
    of, length = experiment.objective.encoder.pos, experiment.data.length
    found: dict[str, dict[str, float]] = {}
    for factor in sorted(NTK_LAMBDA):
        for name, pos in extensions(of, length, factor).items():
            changes = [f"objective.encoder.pos={json.dumps(to_json(pos))}", f"evals.longer.factors=[{float(factor)}]"]
            found.setdefault(name, {}).update(evaluate(run, evals=["longer"], changes=changes)["longer"])
            print(f"{run} x{factor} {name}: {found[name]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--y", default="top1", help="the figure that is drawn and printed")
    args = parser.parse_args()
    each = [read(run) for run in args.runs]
    step = Run(args.runs[0]).experiment().steps
    columns = []
    for name in each[0]:
        figures = {f"longer/{figure}": [found[name][figure] for found in each] for figure in each[0][name]}
        columns.append(Column(name, args.runs, step, figures))
    header, rows = transposed(columns, [f for f in columns[0].figures if f.endswith(f"_{args.y}")])
    print("\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows)))
    write_csv(args.out.with_suffix(".csv"), columns)
    drawn = {c.experiment: [{f: c.figures[f][i] for f in c.figures} for i in range(len(args.runs))] for c in columns}
    lines(drawn, f"longer/x*_{args.y}", args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()

"""How many epochs a method needs for the accuracy of a baseline: from runs of both with several budgets, schedules of their own.

    python scripts/speedup.py 'SGD=runs/tract_sgd_plain_*,runs/tract_sgd_tract_*' --epoch 390 --out results/tract_cifar10.png
    python scripts/speedup.py 'SGD=BASELINE,METHOD' 'Adam=BASELINE,METHOD' --csv FILE                     patterns of run folders

A figure is a share, such as accuracy; printed in percent. `ratio` is the baseline's budget over the one at which the method reaches
the baseline's final figure, by interpolation between the method's budgets on a logarithmic axis: 1.3 saves a quarter of the epochs.
It is a lower bound (>=) where the smallest budget of the method is as good already, an upper one (<) where not even the largest is.
Of means over seeds; the deviation of the gain is that of differences seed by seed. In the picture the thin lines are the learning
curves, the dots their ends.
"""

from __future__ import annotations

import argparse
import csv
import glob
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxemb.config import ConfigError
from jaxemb.log.plot import pyplot
from jaxemb.log.table import table
from jaxemb.run.files import read_json
from jaxemb.run.metrics import read_series

Budgets = Mapping[int, Mapping[int, dict[int, float]]]
"""Steps in all -> seed -> {step: figure}."""


class Row(NamedTuple):
    """A budget of the baseline beside the same of the method."""

    pair: str
    epochs: float
    seeds: int
    baseline: float
    baseline_std: float
    method: float
    method_std: float
    gain: float
    gain_std: float
    ratio: str


def read(pattern: str, figure: str) -> Budgets:
    """The learning curves of the runs that a pattern finds."""
    found: dict[int, dict[int, dict[int, float]]] = {}
    for run in sorted(glob.glob(pattern)):
        series = read_series(run).get(figure, {})
        config = read_json(f"{run}/config.json")
        if config["steps"] in series:  # else it has not come to its end
            found.setdefault(config["steps"], {})[config["seed"]] = series
    if not found:
        raise ConfigError(f"no finished run with the figure {figure!r} fits {pattern!r}")
    return found


def finals(budgets: Budgets) -> dict[int, float]:
    """Steps in all -> the figure at their end, a mean over seeds."""
    return {steps: statistics.mean(s[steps] for s in seeds.values()) for steps, seeds in sorted(budgets.items())}


def needed(reached: Mapping[int, float], wanted: float) -> tuple[str, float]:
    """("" or a bound, steps) at which a method whose budgets end at these figures reaches the one that is wanted.

    The first crossing counts, since a figure need not rise with every budget.
    """
    steps = sorted(reached)
    if reached[steps[0]] >= wanted:
        return "<=", steps[0]
    for a, b in zip(steps, steps[1:], strict=False):
        if reached[b] >= wanted:
            share = (wanted - reached[a]) / (reached[b] - reached[a])
            return "", float(np.exp(np.log(a) + share * np.log(b / a)))
    return ">", steps[-1]


def rows(name: str, baseline: Budgets, method: Budgets, epoch: int) -> list[Row]:
    """One for each budget that both have."""
    base, ours = finals(baseline), finals(method)
    found = []
    for steps in sorted(set(base) & set(ours)):
        seeds = sorted(set(baseline[steps]) & set(method[steps]))
        ends = [[runs[steps][s][steps] for s in seeds] for runs in (baseline, method)]
        gains = [b - a for a, b in zip(*ends, strict=True)]
        bound, at = needed(ours, base[steps])
        ratio = {"": "", "<=": ">= ", ">": "< "}[bound] + f"{steps / at:.2f}"
        pairs = [(100 * statistics.mean(x), 100 * statistics.stdev(x) if len(x) > 1 else 0.0) for x in (*ends, gains)]
        found.append(Row(name, steps / epoch, len(seeds), *pairs[0], *pairs[1], *pairs[2], ratio))
    if not found:
        raise ConfigError(f"{name}: the two have no budget in common: {sorted(base)} and {sorted(ours)} steps")
    return found


def draw(out: Path, pairs: Mapping[str, tuple[Budgets, Budgets]], epoch: int, labels: tuple[str, str], figure: str) -> None:
    """A panel a pair."""
    picture, axes = pyplot().subplots(1, len(pairs), figsize=(5 * len(pairs), 3.8), squeeze=False, layout="constrained")
    for axis, (name, pair) in zip(axes.flat, pairs.items(), strict=True):
        for budgets, colour, label in zip(pair, ("0.4", "tab:red"), labels, strict=True):
            for steps, seeds in sorted(budgets.items()):
                shared = sorted(set.intersection(*(set(s) for s in seeds.values())) - {0})
                curve = [100 * statistics.mean(s[t] for s in seeds.values()) for t in shared]
                axis.plot([t / epoch for t in shared], curve, color=colour, linewidth=0.8, alpha=0.6)
                ends = [100 * s[steps] for s in seeds.values()]
                axis.plot([steps / epoch] * len(ends), ends, ".", color=colour, markersize=4, alpha=0.6)
            ends = {steps / epoch: 100 * value for steps, value in finals(budgets).items()}
            axis.plot([*ends], [*ends.values()], "o-", color=colour, label=label, markersize=6)
        axis.set(title=name, xlabel="epochs", xscale="log")
        ticks = sorted({steps / epoch for budgets in pair for steps in budgets})
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel(f"{figure}, %")
    axes[0, 0].legend(loc="lower right")
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(out, dpi=120)
    pyplot().close(picture)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="NAME=BASELINE,METHOD", help="patterns of run folders")
    parser.add_argument("--y", default="test/top1", metavar="FIGURE", help="of metrics.jsonl (default: test/top1)")
    parser.add_argument("--epoch", type=int, default=1, metavar="STEPS", help="steps an epoch (default 1: budgets count in steps)")
    parser.add_argument("--labels", default="without,TrAct", metavar="BASELINE,METHOD", help="names in the picture")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE.png")
    args = parser.parse_args(argv)
    if args.epoch < 1:
        parser.error(f"--epoch must be at least 1, not {args.epoch}")
    for pair in args.pairs:
        if pair.count("=") != 1 or pair.partition("=")[2].count(",") != 1:
            parser.error(f"{pair!r} is not NAME=BASELINE,METHOD")
    if args.labels.count(",") != 1:
        parser.error(f"--labels={args.labels!r} is not BASELINE,METHOD")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    pairs: dict[str, tuple[Budgets, Budgets]] = {}
    for pair in args.pairs:
        name, _, patterns = pair.partition("=")
        baseline, method = patterns.split(",")
        pairs[name] = read(baseline, args.y), read(method, args.y)
    found = [row for name, pair in pairs.items() for row in rows(name, *pair, epoch=args.epoch)]
    cells = [
        [r.pair, f"{r.epochs:g}", str(r.seeds), *(f"{a:.1f} ± {b:.1f}" for a, b in zip(r[3:9:2], r[4:9:2], strict=True)), r.ratio]
        for r in found
    ]
    table(["pair", ">epochs", ">seeds", *args.labels.split(","), "gain", "ratio"], cells)
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in found)
    if args.out:
        draw(args.out, pairs, args.epoch, tuple(args.labels.split(",")), args.y)


if __name__ == "__main__":
    try:
        main()
    except ConfigError as e:
        raise SystemExit(f"error: {e}") from e

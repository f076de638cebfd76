"""`jaxemb compile`: what an experiment would need of a slice that is not here, and how fast it could be there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxemb.cli.verbs import building, writing
from jaxemb.config import ConfigError, override
from jaxemb.log.table import say

if TYPE_CHECKING:
    from jaxemb.aot.plan import Plan
    from jaxemb.aot.sweep import Tried
    from jaxemb.aot.topology import Topology
    from jaxemb.experiment import Experiment


def compile(args: argparse.Namespace) -> None:
    from jaxemb.aot.report import append_csv, default_file, is_new, record, row, row_refused, show, sources, without_plan, write
    from jaxemb.aot.topology import topology

    experiment = trained(args)
    if args.csv:
        with writing(Path(args.csv)):  # before minutes of compiling
            is_new(args.csv)
    plans: list[Plan] = []
    refused: list[dict[str, Any]] = []
    file = args.out or default_file(experiment, args.topology)
    for there in [topology(name) for name in args.topology]:
        found, failed = planned(experiment, there, args)
        left = [without_plan(there, t) for t in failed]
        plans += found
        refused += left
        for p in [] if args.sweep else found:
            show(p)
        say("")
        doc = record(experiment, plans, refused)
        with writing(Path(file)):  # after each slice: what was compiled for minutes is not lost
            write(file, doc)
        if args.csv:
            with writing(Path(args.csv)):
                append_csv(args.csv, [row(experiment, p, doc) for p in found] + [row_refused(experiment, c, doc) for c in left])
    for line in sources(plans):
        say(line)
    say("\n".join(filter(None, (file, args.csv))))


def planned(experiment: Experiment, there: Topology, args: argparse.Namespace) -> tuple[list[Plan], list[Tried]]:
    """Of one slice: its programs, or the train steps of a sweep and the candidates that have none."""
    from jaxemb.aot.plan import plan
    from jaxemb.aot.report import show_sweep
    from jaxemb.aot.sweep import sweep

    with building(experiment):
        if not args.sweep:
            return plan(experiment, there, encodes=args.encode, say=say), []
        tried = sweep(experiment, there, [name.strip() for name in args.sweep.split(",")], say)
    say("")
    show_sweep(tried)
    return [t.plan for t in tried if t.plan is not None], [t for t in tried if t.plan is None]


def trained(args: argparse.Namespace) -> Experiment:
    from jaxemb.experiment import find
    from jaxemb.train.recipe import Recipe

    found = override(find(args.experiment), args.set)
    if isinstance(found, Recipe):
        raise ConfigError(f"{found.name} is computed in closed form: there is no train step to compile")
    return found

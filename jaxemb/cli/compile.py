"""`jaxemb compile`: what an experiment would need of a slice that is not here, and how fast it could be there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxemb.cli.verbs import building, writing
from jaxemb.config import ConfigError, override
from jaxemb.log.table import say

if TYPE_CHECKING:
    from jaxemb.aot.plan import Plan
    from jaxemb.aot.topology import Topology
    from jaxemb.experiment import Experiment


def compile(args: argparse.Namespace) -> None:
    from jaxemb.aot.report import append_csv, default_file, record, row, show, sources, write
    from jaxemb.aot.topology import topology

    experiment = trained(args)
    plans: list[Plan] = []
    file = args.out or default_file(experiment, args.topology)
    for there in [topology(name) for name in args.topology]:
        found = planned(experiment, there, args)
        plans += found
        for p in [] if args.sweep else found:
            show(p)
        say("")
        doc = record(experiment, plans)
        with writing(Path(file)):  # after each slice: what was compiled for minutes is not lost
            write(file, doc)
        if args.csv:
            with writing(Path(args.csv)):
                append_csv(args.csv, [row(experiment, p, doc) for p in found])
    for line in sources(plans):
        say(line)
    say("\n".join(filter(None, (file, args.csv))))


def planned(experiment: Experiment, there: Topology, args: argparse.Namespace) -> list[Plan]:
    """Of one slice: its programs, or the train steps of a sweep."""
    from jaxemb.aot.plan import plan
    from jaxemb.aot.report import show_sweep
    from jaxemb.aot.sweep import sweep

    with building(experiment):
        if not args.sweep:
            return plan(experiment, there, encodes=args.encode, say=say)
        tried = sweep(experiment, there, args.sweep.split(","), say)
    say("")
    show_sweep(tried)
    return [t.plan for t in tried if t.plan is not None]


def trained(args: argparse.Namespace) -> Experiment:
    from jaxemb.experiment import find
    from jaxemb.train.recipe import Recipe

    found = override(find(args.experiment), args.set)
    if isinstance(found, Recipe):
        raise ConfigError(f"{found.name} is computed in closed form: there is no train step to compile")
    return found

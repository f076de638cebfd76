"""`jaxemb compile`: what an experiment would need of a slice that is not here, and how fast it could be there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxemb.cli.verbs import building, writing
from jaxemb.config import ConfigError, override
from jaxemb.log.table import say

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment


def compile(args: argparse.Namespace) -> None:
    from jaxemb.aot.report import append_csv, default_file, record, row, sources, write
    from jaxemb.aot.topology import topology
    from jaxemb.experiment import find

    experiment = refuse_recipe(override(find(args.experiment), args.set))
    slices = [topology(name) for name in args.topology]
    plans = []
    for there in slices:
        plans += planned(experiment, there, args)
    for line in sources(plans):
        say(line)
    doc = record(experiment, plans)
    file = args.out or default_file(experiment, args.topology)
    with writing(Path(file)):
        write(file, doc)
    say(file)
    if args.csv:
        with writing(Path(args.csv)):
            append_csv(args.csv, [row(experiment, p, doc) for p in plans])
        say(args.csv)


def planned(experiment: Experiment, there, args: argparse.Namespace) -> list:
    from jaxemb.aot.plan import plan
    from jaxemb.aot.report import show

    with building(experiment):
        found = plan(experiment, there, encodes=args.encode, say=say)
    for p in found:
        show(p)
    say("")
    return found


def refuse_recipe(experiment) -> Experiment:
    from jaxemb.train.recipe import Recipe

    if isinstance(experiment, Recipe):
        raise ConfigError(f"{experiment.name} is computed in closed form: there is no train step to compile")
    return experiment

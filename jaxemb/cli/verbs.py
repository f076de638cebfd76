"""What each verb does."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epath

from jaxemb.cli.describe import by_module, catalogue, matches, shape, signature, tree
from jaxemb.cli.process import huge_pages_note, is_first
from jaxemb.config import ConfigError, brief, override, to_json
from jaxemb.files import is_folder, is_regular
from jaxemb.log.table import number, say, size, table

if TYPE_CHECKING:
    from jaxemb.experiment import Experiment, Recipe

SIDE_BY_SIDE = 4
"""Experiments that `compare` shows as columns; of more, each gets a row."""


def train(args: argparse.Namespace) -> None:
    from jaxemb.experiment import find_all

    found = find_all(args.experiment)
    if len(found) > 1 and args.run:
        raise ConfigError(f"--run names one folder, {args.experiment} fits {len(found)} experiments: leave it out")
    for i, experiment in enumerate(found):
        if len(found) > 1 and is_first():
            say(f"\n{i + 1} of {len(found)}: {experiment.name}", "bold")
        train_one(experiment, args)


def train_one(experiment: Experiment | Recipe, args: argparse.Namespace) -> None:
    from jaxemb.run.folder import Run
    from jaxemb.train.loop import train
    from jaxemb.train.recipe import Recipe
    from jaxemb.train.trace import parse

    experiment = override(experiment, [*args.set, *([f"seed={args.seed}"] if args.seed is not None else [])])
    folder = args.run or f"runs/{experiment.name}" + (f"-seed{experiment.seed}" if experiment.seed else "")
    first = is_first()
    profile = parse(args.profile) if args.profile is not None else None
    if isinstance(experiment, Recipe):
        if profile:
            raise ConfigError(f"--profile traces steps, and {experiment.name} is a recipe, which has none")
        return compute_one(experiment, folder)
    if first:
        headline(experiment, folder)
    figures = train(experiment, folder, tensorboard=args.tensorboard, wandb=args.wandb, profile=profile)
    if not first:
        return
    before = Run(folder).figures(0)
    judged = [name for name in figures if "/" in name and name.split("/")[0] in experiment.evals]
    rest = [name for name in ("loss", "examples_per_second") if name in figures]
    say("")
    columns = {f">at step {experiment.steps}": figures}
    if any(name in before for name in judged + rest):
        columns = {">at step 0 (untrained)": {name: number(x) for name, x in before.items()}} | columns
    table(("figure", *columns), [(name, *(own.get(name, "") for own in columns.values())) for name in judged + rest])
    shown = shlex.quote(str(folder))
    judge = f"jaxemb eval {shown}\n       " if experiment.evals else ""
    say(f"\nNext:  {judge}jaxemb plot {shown}\n       jaxemb encode {shown} INPUT embeddings.npy")


def compute_one(recipe: Recipe, folder: str) -> None:
    """A recipe: no steps, the same folder and figures."""
    from jaxemb.train.recipe import compute

    for name, value in (("recipe", f"{recipe.name}: {brief(recipe.fit)}"), ("data", brief(recipe.data)), ("folder", folder)):
        say(f"{name:<12}{value}")
    figures = compute(recipe, folder, say=say)
    table(("figure", ">value"), [(name, value) for name, value in figures.items() if "/" in name])
    shown = shlex.quote(str(folder))
    say(f"\nNext:  jaxemb eval {shown}\n       jaxemb compare {shown} OTHER_RUN")


def headline(experiment: Experiment, folder: str) -> None:
    """What is trained, on what, where."""
    import jax

    from jaxemb.train.setup import uncut_parameters
    from jaxemb.train.sharding import make_mesh
    from jaxemb.train.summary import count_parameters

    devices = jax.devices()
    kind = "CPU" if devices[0].platform == "cpu" else devices[0].device_kind
    with building(experiment):
        parameters = size(count_parameters(experiment))
    rows = (
        ("experiment", f"{experiment.name}: {type(experiment.objective).__name__}, {parameters} parameters"),
        ("data", f"{brief(experiment.data)}, {experiment.steps} steps of {experiment.batch}, seed {experiment.seed}"),
        ("devices", f"{len(devices)} x {kind}, mesh {dict(experiment.mesh)}" + huge_pages_note(devices[0].platform)),
        ("folder", folder),
    )
    for name, value in rows:
        say(f"{name:<12}{value}")
    if note := uncut_parameters(experiment, make_mesh(experiment.mesh)):
        say(note, "yellow")


def eval(args: argparse.Namespace) -> None:
    from jaxemb.io.evaluate import evaluate

    names = args.evals.split(",") if args.evals else None
    found = evaluate(args.run, evals=names, weights=args.weights, changes=args.set, out=args.out)
    if not found:
        raise ConfigError(f"{args.run}: no evaluation is left, see above")
    table(("evaluation", "figure", ">value"), [(e, f, float(v)) for e, figures in found.items() for f, v in figures.items()])


def export(args: argparse.Namespace) -> None:
    from jaxemb.cli import folders

    folders.export(args)


def merge(args: argparse.Namespace) -> None:
    from jaxemb.cli import folders

    folders.merge(args)


def list(args: argparse.Namespace) -> None:
    from jaxemb.discover import families, list_methods

    found = list_methods(args.family)
    if args.pattern:
        found = [m for m in found if matches(m, args.pattern)]
        if not found:
            raise ConfigError(f"nothing in {args.family or 'any family'} matches {args.pattern!r}; jaxemb list shows everything")
    if args.markdown:
        print(catalogue({f: [m for m in found if m.family == f] for f in families()}))
        return
    table(("family", "method", "what it does", "paper"), [(m.family, signature(m), m.summary, m.paper or "") for m in found])


def claims(args: argparse.Namespace) -> None:
    from jaxemb.discover import list_methods
    from jaxemb.log.claims import markdown, matching, measured, missing, notes, read, results, update

    file = Path(args.file) if args.file else results() / "claims.csv"
    if args.update:
        changed = update(file)
        say(
            f"{file}: {len(changed)} of the figures changed" + "".join(f"\n  {c.system}: {c.claim}: {measured(c)}" for c in changed)
        )
        return
    found = read(file)
    absent = missing(found, (m.name for m in list_methods() if m.paper))
    if args.markdown:
        print(markdown(found, absent))
        return
    if args.pattern:
        found = matching(found, args.pattern)
        if not found:
            raise ConfigError(f"no claim matches {args.pattern!r}; jaxemb claims shows all")
    rows = [(c.system, c.claim, c.claimed, measured(c) + ("*" if c.state else ""), c.verdict, c.sentence) for c in found]
    table(("system", "claim", "claimed", "measured here", "verdict", ""), rows)
    say("\n" + "\n".join(notes(found)))
    if not args.pattern:
        say(f"Without a row: {', '.join(absent)}." if absent else "Every system has a row.")


def show(args: argparse.Namespace) -> None:
    import jax

    from jaxemb.experiment import find_all
    from jaxemb.io.evaluate import NEITHER, is_hub_id, is_pretrained
    from jaxemb.run.folder import Run

    jax.config.update("jax_platforms", "cpu")  # shapes alone: no accelerator is touched, which a running training may hold
    file, run = args.target.partition(":")[0], is_run(args.target)
    folder = is_folder(args.target) and not run  # which may lack what a pretrained one holds
    if not file.endswith(".py") and (folder or (is_pretrained if run else is_hub_id)(args.target)):
        from jaxemb.cli.folders import show_folder

        return show_folder(args.target)
    try:
        found = [Run(args.target).experiment()] if run else find_all(args.target)
    except ConfigError as e:
        raise (e if run or file.endswith(".py") else ConfigError(f"{e}; {NEITHER}")) from None
    for i, experiment in enumerate(found):
        if len(found) > 1:
            say(f"\n{i + 1} of {len(found)}: {experiment.name}", "bold")
        show_one(override(experiment, args.set))


def show_one(experiment: Experiment | Recipe) -> None:
    from jaxemb.train.recipe import Recipe
    from jaxemb.train.summary import summarise

    for line in tree(to_json(experiment)):
        say(line)
    if isinstance(experiment, Recipe):  # no parameters, no step
        return
    with building(experiment):
        found = summarise(experiment)
    say("")
    table(("module", ">layers", "arrays", ">parameters"), [*by_module(found.parameters), ("all", "", "", f"{found.count:,}")])
    say("")
    table(("arrays of a step", "shape"), [(name, shape(s)) for name, s in found.shapes.items()])
    say("")
    table(("memory", ">bytes"), [(name, f"{size(n)}B") for name, n in found.memory.items()])
    for line in placed(experiment):
        say(line)
    for what, flops in (("one update, forward and backward", found.train_flops), ("one embedding", found.encode_flops)):
        if flops:
            say(f"{what}: {size(flops)}FLOP")


def placed(experiment: Experiment) -> Sequence[str]:
    """What a device of the experiment's mesh holds of its state; nothing of one device, or of a -1 that does not fit here."""
    from jaxemb.train.setup import uncut_parameters
    from jaxemb.train.sharding import planned_mesh
    from jaxemb.train.summary import share

    mesh = planned_mesh(experiment.mesh)
    if mesh is None or mesh.size == 1:
        return []
    axes = ", ".join(f"{axis} {n}" for axis, n in mesh.shape.items() if n > 1)
    held = f"{size(share(experiment, mesh))}B of parameters, average and optimiser"
    return [f"a device of {mesh.size} ({axes}): {held}", *filter(None, [uncut_parameters(experiment, mesh)])]


def plot(args: argparse.Namespace) -> None:
    from jaxemb.log.plot import curves
    from jaxemb.run.folder import Run

    if args.features:
        from jaxemb.io.features import draw_features

        out = draw_features(args.runs, args.out or Run(args.runs[0]).path / "features.png", count=args.images)
    elif args.neighbours:
        from jaxemb.io.features import draw_neighbours

        out = draw_neighbours(args.runs, args.out or Run(args.runs[0]).path / "neighbours.png", count=args.images)
    elif args.attention:
        from jaxemb.io.features import draw_attention

        out = draw_attention(args.runs[0], args.out or Run(args.runs[0]).path / "attention.png", count=args.images)
    elif args.masks:
        out = draw_masks(args.runs[0], args.out, count=args.images)
    else:
        out = curves(args.runs, args.out or Run(args.runs[0]).path / "curves.png", x=args.x, y=args.y)
    say(str(out))


def draw_masks(target: str, out: str | None, *, count: int) -> epath.Path:
    """Sampled masks of FILE[:NAME] or of a run."""
    import numpy as np

    from jaxemb.log.plot import mask_map
    from jaxemb.train.recipe import trained
    from jaxemb.train.setup import example_batch

    experiment = trained(find_or_load(target), target)
    drawn = example_batch(experiment, rows=count)
    if "context" not in drawn or "targets" not in drawn:
        raise ConfigError(f"{type(experiment.objective).__name__} draws no masks on the host; its batch holds {', '.join(drawn)}")
    context, targets = (np.where(drawn.get(f"{name}_mask", True), drawn[name], -1) for name in ("context", "targets"))
    grid = experiment.objective.encoder.stem.grid(experiment.data.spec["images"].shape)  # pyright: ignore[reportAttributeAccessIssue]
    folder = epath.Path(target) if epath.Path(target).is_dir() else epath.Path()
    return mask_map(grid, context, targets, out or folder / "masks.png")


def compare(args: argparse.Namespace) -> None:
    from jaxemb.log.compare import columns, rows, transposed, write_csv

    runs = args.runs
    if args.pick or args.oracle:
        return model_selection(runs, args)
    found = columns(runs)
    if args.markdown or len({c.experiment for c in found}) > SIDE_BY_SIDE:
        header, lines = transposed(found, args.y)
        markdown_or_table([header[0], *(f">{name}" for name in header[1:])], lines, args.markdown)
    else:
        table(("figure", *(f">{c.title}" + (f" (n={len(c.runs)})" if len(c.runs) > 1 else "") for c in found)), rows(found, args.y))
    if args.csv:
        say(f"\n{write_csv(Path(args.csv), columns(runs, every_step=True))}: every step that was evaluated")


def model_selection(runs: Sequence[str], args: argparse.Namespace) -> None:
    """What `--pick` would have chosen, against the best by `--oracle`."""
    from jaxemb.log.pick import lines, pick, verdict

    if not (args.pick and args.oracle):
        raise ConfigError("--pick and --oracle go together: the figure to choose by, and the one to judge the choice by")
    report = pick(runs, by=args.pick, oracle=args.oracle, plateau=args.plateau)
    header, rows = lines(report, args.pick, args.oracle)
    markdown_or_table(header, rows, args.markdown)
    say(f"\n{verdict(report)}")


def markdown_or_table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    """A header of ">figure" is set to the right."""
    if markdown:
        names = [name.removeprefix(">") for name in header]
        say("\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *rows)))
    else:
        table(header, rows)


@contextlib.contextmanager
def building(experiment: Experiment) -> Iterator[None]:
    """Says of a model that cannot be traced that the config is at fault; `--debug` shows where."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError, RecursionError) as e:
        if type(e).__module__.startswith("jaxemb"):
            raise
        why = next(iter(str(e).splitlines()), "")[:300]
        raise ConfigError(
            f"{experiment.name}: no model can be built from this config: {type(e).__name__}: {why}; --debug shows where"
        ) from e


@contextlib.contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turns an error of the disk into one for the user."""
    try:
        yield
    except OSError as e:
        raise ConfigError(f"{file} cannot be written: {e.strerror}") from e


def find_or_load(target: str) -> Experiment | Recipe:
    """The experiment of FILE[:NAME], or of a run folder."""
    from jaxemb.experiment import find
    from jaxemb.run.folder import Run

    return Run(target).experiment() if is_run(target) else find(target)


def is_run(target: str) -> bool:
    from jaxemb.run.folder import Run

    return any(is_regular(folder / "config.json") for folder in (epath.Path(target), Run(target).path))

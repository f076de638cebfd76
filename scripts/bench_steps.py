"""What an objective or a first-layer update costs: training steps of jaxemb against each other, in one process and in rounds.

    python scripts/bench_steps.py --csv results/bench_steps_cpu.csv                         every group, on this machine
    python scripts/bench_steps.py --groups masked --rounds 3
    python scripts/bench_steps.py --groups masked --model vit_b --batch 128 --dtype bfloat16      on a GPU
    python scripts/bench_steps.py --systems Classify,IJEPA,plain,TrAct --networks vit_s           some of them

Groups: `masked`, pre-training objectives with the same encoder (--model, 224 px), against the objective before them that they build
on; `tract`, TrAct in the first layer of ViT-Ti and ViT-S (224 px) and of ResNet-18 (32 px), against the same network without.

A round runs every system once after a call that is not timed, and each round starts with another one. A ratio is the time of a
system over that of `against` in the same round, the median over rounds; `cpu_ratio` is the same in CPU time of all threads,
`flop_ratio` that of the arithmetic that XLA counts. `per_flop` is ratio over flop_ratio: what a system loses beyond its arithmetic.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from bench import figures, interleaved, note, positive, provenance, words

from jaxemb import Optim
from jaxemb.config import suggest
from jaxemb.nn import Attention, Block, Decoder, Patches, Predictor, ResNet
from jaxemb.nn.presets import PRESETS
from jaxemb.objectives import DMTJEPA, IJEPA, MAE, Classify, HardPatches
from jaxemb.ops.draws import Draws
from jaxemb.train.state import TrainState, create
from jaxemb.train.step import make_step

COLUMNS = (
    "group system against model image batch dtype ms ms_min ratio ratio_low ratio_high cpu_ratio flop_ratio per_flop goal rounds "
    "time commit device cpu simd cores load huge_pages versions command"
).split()


class System(NamedTuple):
    """An objective, and the one that it is compared with."""

    objective: Any
    against: str
    ema: bool = False
    tract: str | None = None
    """The path of a first layer that TrAct trains."""
    goal: float | None = None
    """Of `ratio`, or of `per_flop` where the two do different work."""


class Group(NamedTuple):
    """Systems that are timed in the same rounds."""

    name: str
    model: str
    image: int
    systems: dict[str, System]


def groups(model: str, dtype: str, small: bool) -> list[Group]:
    """`small`: tiny encoders, whether it runs at all."""
    kind: dict[str, Any] = {"dtype": dtype} | ({"depth": 1} if small else {})
    sizes = ("micro", "micro") if small else ("vit_ti", "vit_s")
    encoder = PRESETS["micro" if small else model](16, **kind)
    heads = max(1, encoder.width // 64)
    half: Any = Predictor(width=encoder.width // 2, depth=1 if small else 6, blocks=(Block(Attention(heads)),))
    decoder = Decoder(width=32 if small else 512, depth=1 if small else 8, blocks=(Block(Attention(8)),))
    found = [
        Group(
            "masked",
            "micro" if small else model,
            224,
            {
                "Classify": System(Classify(encoder=encoder, classes=1000), "Classify"),
                # Context and targets are other tokens than those of `Classify`: the goal is of the time for the same arithmetic.
                "IJEPA": System(IJEPA(encoder=encoder, predictor=half), "Classify", ema=True, goal=1.6),
                "DMTJEPA": System(DMTJEPA(encoder=encoder, predictor=half), "IJEPA", ema=True, goal=1.25),
                "MAE": System(MAE(encoder=encoder, decoder=decoder), "Classify"),
                "HardPatches": System(HardPatches(encoder=encoder, decoder=decoder), "MAE", ema=True),
            },
        )
    ]
    for name, goal in zip(sizes, (1.10, 1.03), strict=True):
        vit = Classify(encoder=PRESETS[name](stem=Patches(16), **kind), classes=1000)
        ours = System(vit, "plain", tract="encoder/stem/proj", goal=goal)
        found.append(Group("tract", name, 224, {"plain": System(vit, "plain"), "TrAct": ours}))
    width = 8 if small else 64
    resnet = Classify(encoder=ResNet(18, width=width, dtype=dtype), classes=10)
    found.append(
        Group(
            "tract",
            "resnet18",
            32,
            {"plain": System(resnet, "plain"), "TrAct": System(resnet, "plain", tract="encoder/stem", goal=1.10)},
        )
    )
    return found


class Steps:
    """A training that goes on by a few steps at each call."""

    def __init__(self, system: System, arrays: Mapping[str, np.ndarray]):
        tract = ((system.tract, 0.1),) if system.tract else ()
        objective, ema, optim = system.objective, system.ema, Optim("adamw", lr=1e-4, schedule="constant", decay=0.05, tract=tract)
        self.objective = objective
        self.batch = jax.device_put(objective.prepare(dict(arrays), Draws((0,), len(next(iter(arrays.values()))))))
        start = jax.jit(lambda b: create(objective, optim.make(1000), b, seed=0, ema=ema))
        step = jax.jit(make_step(objective, optim, steps=1000, ema=(0.996, 1.0) if ema else None), donate_argnums=0)
        self.state: TrainState = start(self.batch)
        self.step = step.lower(self.state, self.batch).compile()
        self.flops = float((self.step.cost_analysis() or {}).get("flops", np.nan))
        """Of a step, as XLA counts them."""

    def __call__(self, count: int) -> None:
        for _ in range(count):
            self.state, _ = self.step(self.state, self.batch)
        jax.block_until_ready(self.state)


def measure(group: Group, batch: int, dtype: str, rounds: int) -> list[dict[str, Any]]:
    """A row a system."""
    rng = np.random.default_rng(0)
    shape = (batch, group.image, group.image, 3)
    arrays = {"images": rng.standard_normal(shape, np.float32), "labels": rng.integers(0, 10, batch).astype(np.int32)}
    runs = {}
    for name, system in group.systems.items():
        note(f"{group.name} {group.model}: {name}")
        runs[name] = Steps(system, arrays)
    times = interleaved(runs, rounds, 0.0)
    rows = []
    for name, system in group.systems.items():
        made = figures(times[name], times[system.against], batch, 0.0, None)
        row = {"group": group.name, "system": name, "against": system.against, "model": group.model, "image": group.image}
        row |= {"batch": batch, "dtype": dtype, "flop_ratio": runs[name].flops / runs[system.against].flops, "rounds": rounds}
        row |= {column: made[column] for column in COLUMNS if column in made}
        row |= {"per_flop": row["ratio"] / row["flop_ratio"], "goal": system.goal or ""}
        rows.append(row)
    return rows


def chosen(args: argparse.Namespace) -> list[Group]:
    """The groups with the systems that are asked for, refused where one is compared with another that is not."""
    found = groups(args.model, args.dtype, args.small)
    networks = [g.model for g in found if g.name == "tract"]
    systems = [*dict.fromkeys(name for g in found for name in g.systems)]
    for name, given, known in (("--networks", args.networks or [], networks), ("--systems", args.systems or [], systems)):
        if unknown := [x for x in given if x not in known]:
            raise SystemExit(f"{name}: {unknown[0]!r} is not known{suggest(unknown[0], known)}")
    found = [g for g in found if g.name in args.groups and (g.name != "tract" or g.model in (args.networks or networks))]
    found = [g._replace(systems={n: s for n, s in g.systems.items() if n in (args.systems or systems)}) for g in found]
    for group in found:
        for name, system in group.systems.items():
            if system.against not in group.systems:
                raise SystemExit(f"--systems: {name} is compared with {system.against}, which is not among them")
    return found


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--groups", type=words, default="masked,tract", help="with commas (default %(default)s)")
    p.add_argument("--systems", type=words, help="some of those in the table, with commas")
    p.add_argument("--networks", type=words, help="some of those of the group tract, with commas")
    p.add_argument("--model", default="vit_s", help="encoder of the masked objectives (default %(default)s)")
    p.add_argument("--batch", type=positive, default=8, help="images a step, eight times as many of 32 px (default 8)")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="of the computation (default float32)")
    p.add_argument("--rounds", type=positive, default=5, help="(default 5)")
    p.add_argument("--small", action="store_true", help="tiny encoders: whether it runs, in seconds")
    p.add_argument("--csv", type=Path, help="file to write; without it the table is only printed")
    args = p.parse_args(argv)
    for name, given, known in (("--groups", args.groups, ("masked", "tract")), ("--model", [args.model], PRESETS)):
        if unknown := [x for x in given if x not in known]:
            raise SystemExit(f"{name}: {unknown[0]!r} is not known{suggest(unknown[0], known)}")
    return args


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    from jaxemb.log.table import table

    shown = COLUMNS[: COLUMNS.index("rounds")]
    numbers = shown[shown.index("image") :]
    title = "{device}, {cpu} ({simd}), {cores} cores, load {load}, commit {commit}\n{versions}".format(**rows[0])
    table([f">{x}" if x in numbers and x != "dtype" else x for x in shown], [[r[x] for x in shown] for r in rows], title=title)


def save(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer: csv.DictWriter[str] = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    origin, rows = provenance(), []
    for group in chosen(args):
        if group.systems:
            batch = args.batch * (8 if group.image == 32 and not args.small else 1)
            rows += [row | origin for row in measure(group, batch, args.dtype, args.rounds)]
            if args.csv:  # at once: an interrupted run keeps what it has
                save(args.csv, rows)
    show(rows)


if __name__ == "__main__":
    from jaxemb.cli.process import restart_with_huge_pages

    restart_with_huge_pages(argparse.Namespace(huge_pages=True))  # does not return if it restarts
    main()

"""What each positional embedding costs: time of a training step and of encoding, against the same encoder without positions.

    python scripts/bench_posemb.py --csv results/bench_posemb_cpu.csv             every member that applies, on this machine
    python scripts/bench_posemb.py --schemes Rotary,SeqPE --batch 96 --rounds 3   a few, at a batch of your own
    taskset -c 0 python scripts/bench_posemb.py --schemes Rotary                  one core: what to do while others use the machine

Inputs: `image`, 224 px in patches of 16 (14 x 14 tokens), and `text`, 512 token ids, half as many a batch; both through ViT-S.
Tasks: `train`, one update of `Classify` with AdamW; `encode`, arrays on the host to embeddings on the host, with SeqPE also as
`SeqPE table`, its embeddings stored; `attend`, one layer's attention of 512 tokens alone, angles computed beforehand.

A round runs every scheme once, after a call that is not timed, and each round starts with another one, so that a change in the
machine's load hits all alike. A ratio is the time of a scheme over that of `against` in the same round: 1.05 is 5 % more. It is the
median over rounds; `cpu_ratio` is the same in CPU time of all threads. Members are built for the size of the input, the rest of
their fields by default or as in SETTINGS. SeqPE's losses cost the same whatever the batch: the batch from which they fall below the
goal is worked out and printed beside what was measured.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from bench import figures, interleaved, note, positive, provenance, words
from bench_steps import Steps, System
from flax import linen as nn

from jaxemb.config import ConfigError, suggest
from jaxemb.discover import members
from jaxemb.nn import Patches, Tokens, Transformer, vit
from jaxemb.objectives import Classify
from jaxemb.ops.allow import Allow
from jaxemb.ops.digits import digit_count
from jaxemb.posemb import NoPos, SeqPE
from jaxemb.posemb.base import Places
from jaxemb.posemb.seqpe_table import table
from jaxemb.train.encode import Encoder
from jaxemb.train.sharding import make_mesh

CLASSES, VOCABULARY = 1000, 8192
ONE_D = {"way": "scalar", "project": "single", "limit": 20_000, "origins": 16, "pool": 160}
SETTINGS: dict[tuple[str, int], dict[str, Any]] = {
    ("Rotary", 2): {"base": 100.0},
    ("SeqPE", 2): {"width": 384},
    ("SeqPE", 1): {"width": 384, "pivots": 16, "candidates": 32, "windows": 16, "samples": 32, **ONE_D},
}
"""By member and axes: published where there is a choice. The digit encoder of texts is as wide as the model, as published."""
SMALL = {"SeqPE": {"width": 16, "heads": 2, "depth": 1, "limit": 12, "pivots": 2, "candidates": 3, "windows": 2, "samples": 3}}
"""By member, for `--small`."""
GOALS = {
    ("train", "Rotary"): 1.05,
    ("train", "SeqPE"): 1.25,
    ("encode", "SeqPE table"): 1.0,
    ("attend", "SelfExtend"): 2.2,
}
"""Largest ratio, by task and scheme."""
COLUMNS = {
    "input": "image: 14 x 14 patches; text: 512 tokens",
    "task": "train: one update; encode: host to host; attend: attention alone",
    "scheme": "member of jaxemb.posemb",
    "against": "whose time is the unit",
    "batch": "images or texts a call",
    "ms": "wall milliseconds a call, median of the rounds",
    "ms_min": "of the fastest round",
    "ratio": "wall time over that of `against` in the same round, median",
    "ratio_low": "of all rounds",
    "ratio_high": "of all rounds",
    "cpu_ratio": "the same as ratio, of CPU time",
    "goal": "largest ratio wanted",
    "rounds": "number of rounds",
    **dict.fromkeys(("time", "commit", "device", "cpu", "simd", "cores", "load", "huge_pages", "versions", "command"), ""),
}
"""Of the CSV, with what they mean; the last ones say where figures come from."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What all schemes compute."""

    name: str
    """image or text."""
    grid: tuple[int, ...]
    """Tokens along each axis."""
    batch: int
    encoder: Transformer
    """Without positions."""
    patch: int = 16

    def objective(self, pos: Any) -> Classify:
        inputs = "tokens" if self.name == "text" else "images"
        return Classify(self.encoder.clone(pos=pos), classes=CLASSES, inputs=inputs)

    def arrays(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, CLASSES, self.batch, dtype=np.int32)
        if self.name == "text":
            return {"tokens": rng.integers(0, VOCABULARY, (self.batch, *self.grid), dtype=np.int32), "labels": labels}
        sides = [self.patch * side for side in self.grid]
        return {"images": rng.standard_normal((self.batch, *sides, 3), dtype=np.float32), "labels": labels}


def works(batch: int, small: bool) -> list[Work]:
    width, depth, heads = (32, 1, 2) if small else (384, 12, 6)
    patch, side, length = (4, 4, 8) if small else (16, 14, 512)
    image = vit(width, depth, heads, patch, {"stem": Patches(patch), "pos": NoPos()})
    text = image.clone(stem=Tokens(VOCABULARY))
    return [Work("image", (side, side), batch, image, patch), Work("text", (length,), max(batch // 2, 1), text)]


# ---- schemes ---------------------------------------------------------------------------------------------------------------------


def schemes(work: Work, wanted: Sequence[str], small: bool) -> dict[str, Any]:
    """NoPos, then every wanted member that takes such positions; of the others it is said why not."""
    found: dict[str, Any] = {"NoPos": NoPos()}
    for member in members("posemb"):
        if member.name not in wanted:
            continue
        try:
            pos = fitted(member.cls, work.grid, small)
            objective = dataclasses.replace(work, batch=1).objective(pos)
            jax.eval_shape(objective.init, jax.random.key(0), dataclasses.replace(work, batch=1).arrays())
        except ConfigError as e:
            note(f"{work.name}: without {member.name}: {e}")
            continue
        found[member.name] = pos
    return found


def fitted(cls: type, grid: tuple[int, ...], small: bool = False) -> Any:
    """A member, and what it wraps, for a grid of this size."""
    known: dict[str, Any] = {f.name: f for f in dataclasses.fields(cls)}
    given: dict[str, Any] = {}
    if "axes" in known:
        given["axes"] = len(grid)
    shape = known["shape"].default if "shape" in known else None  # None: that of the input
    if shape and (len(shape) == len(grid) or "..." in str(known["shape"].type)):
        given["shape"] = grid
    if "of" in known and cls.__name__ != "Curve":  # which gives what it wraps one number a patch
        given["of"] = fitted(type(known["of"].default_factory()), grid, small)
    if cls.__name__ == "Extended":
        given["original"] = grid[0] // 2
    given |= SETTINGS.get((cls.__name__, len(grid)), {})
    return cls(**given | (SMALL.get(cls.__name__, {}) if small else {}))


# ---- what is timed ---------------------------------------------------------------------------------------------------------------


class Trained(Steps):
    """A training of a work with this scheme."""

    def __init__(self, work: Work, pos: Any):
        super().__init__(System(work.objective(pos), "NoPos"), work.arrays())

    def variables(self) -> dict[str, Any]:
        """Those reached; what only training needs is dropped."""
        variables, self.state = self.state.variables(), None  # pyright: ignore
        return variables


def encoders(work: Work, trained: Mapping[str, Trained]) -> dict[str, Callable[[int], Any]]:
    """{scheme: `encode`}, with SeqPE's embeddings stored as one more."""
    mesh, arrays, runs = make_mesh({"data": 1}), work.arrays(), {}
    arrays.pop("labels")

    def run(objective: Classify, variables: Any) -> Callable[[int], Any]:
        encode = Encoder(objective, mesh, work.batch).bind(variables).encode
        return lambda count: [encode(arrays) for _ in range(count)]

    for name, system in trained.items():
        objective, variables = system.objective, system.variables()
        runs[name] = run(objective, variables)
        if name == "SeqPE":
            encoder, params = table(objective.encoder, variables["params"]["encoder"], work.grid)
            runs["SeqPE table"] = run(objective.clone(encoder=encoder), {"params": variables["params"] | {"encoder": params}})
    return runs


def attentions(work: Work, found: Mapping[str, Any]) -> dict[str, Callable[[int], Any]]:
    """{scheme: attention of one layer} for those that have no parameters in it."""
    attention = work.encoder.blocks[0].attention
    heads, width = attention.heads, attention.width_of_head(work.encoder.width)
    shape = (work.batch, work.grid[0], heads, width)
    q, k, v = (jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 3))
    places = Places(jnp.arange(work.grid[0])[None, :, None], grid=work.grid, rows=work.batch)

    def run(module: Any) -> Callable[[int], Any]:
        shared = jax.jit(nn.apply(lambda m, places: m.prepare(places, heads=heads, width=width), module))({}, places)
        attend = jax.jit(nn.apply(lambda m, *x: m.attend(*x, Allow()), module))
        return lambda count: [jax.block_until_ready(attend({}, q, k, v, shared)) for _ in range(count)]

    return {name: run(found[name]) for name in ("NoPos", "Rotary", "SelfExtend") if name in found}


# ---- rows ------------------------------------------------------------------------------------------------------------------------


def measure(work: Work, found: Mapping[str, Any], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """The rows of an input: training, then encoding with what was trained, then attention alone."""
    trained = {}
    for name, pos in found.items():
        note(f"{work.name}: {name}")
        trained[name] = Trained(work, pos)
    yield from compared(work, "train", trained, rounds, 0.0)
    yield from compared(work, "encode", encoders(work, trained), rounds, seconds)
    trained.clear()
    if work.name == "text":
        yield from compared(work, "attend", attentions(work, found), rounds, seconds)


def compared(work: Work, task: str, runs: Mapping[str, Any], rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    note(f"{work.name}: {task}, {rounds} rounds")
    times = interleaved(runs, rounds, seconds)
    pairs = [(name, "NoPos") for name in runs]
    pairs += [p for p in (("SeqPE table", "Learned"), ("SelfExtend", "Rotary")) if set(p) <= set(runs)]
    for name, against in pairs:
        row: dict[str, Any] = {"input": work.name, "task": task, "scheme": name, "against": against, "batch": work.batch}
        made = figures(times[name], times[against], work.batch, 0.0, None)
        row |= {column: made[column] for column in COLUMNS if column in made}
        # A table and grouped attention are held to what they replace, the others to no positions at all.
        own = "Learned" if name == "SeqPE table" else "Rotary" if name == "SelfExtend" else "NoPos"
        row["goal"] = GOALS.get((task, name), "") if against == own else ""
        yield row | {"rounds": rounds}


# ---- the arithmetic of SeqPE -----------------------------------------------------------------------------------------------------


class Share(NamedTuple):
    """FLOPs of the matrix products of a forward pass, 2 for a multiply-add."""

    fixed: float
    """Of the digit encoder: all positions of a step, those of shifted steps by their chance. Whatever the batch."""
    each: float
    """Of SeqPE for each example: with `shift` every example has positions, and so projections, of its own."""
    encoder: float
    """Of the encoder without positions, for each example."""

    def overhead(self, batch: int) -> float:
        return (self.fixed / batch + self.each) / self.encoder

    def batch_below(self, overhead: float) -> float:
        """Examples a step from which the overhead is below this; infinite where `each` alone is more."""
        left = overhead * self.encoder - self.each
        return self.fixed / left if left > 0 else float("inf")


def share(work: Work, pos: SeqPE) -> Share:
    """Training is three times this, on both sides of the ratio."""
    e, n, d = work.encoder, int(np.prod(work.grid)), work.encoder.width
    count = n + bool(pos.contrastive) * pos.pivots * (1 + pos.candidates) + bool(pos.transfer) * pos.windows * min(pos.samples, n)
    count += pos.shift * pos.origins * n
    t = pos.axes * digit_count(pos.limit) + pos.summary
    layer = 2 * t * pos.width**2 * 12 + 4 * t**2 * pos.width
    project = 2 * n * d * 2 * d * {"multi": e.depth, "single": 1, "none": 0}[pos.project]
    project += 2 * n * n * d * (pos.way == "scalar")
    own = project if pos.shift else 0
    stem = 2 * n * d * 3 * work.patch**2 if work.name == "image" else 0
    blocks = e.depth * (2 * n * d**2 * (4 + 2 * e.blocks[0].mlp.ratio) + 4 * n**2 * d)
    return Share(count * (pos.depth * layer + 2 * pos.width * d) + (project - own), own, stem + blocks)


def explain(work: Work, pos: SeqPE) -> str:
    s, goal = share(work, pos), GOALS["train", "SeqPE"] - 1
    return (
        f"{work.name}: SeqPE's digit encoder takes {s.fixed / 1e9:.3g} GFLOP a step and {s.each / 1e9:.3g} an example, the encoder "
        f"{s.encoder / 1e9:.3g} an example (forward): {s.overhead(work.batch):.0%} more at batch {work.batch}, "
        f"{s.overhead(256):.0%} at 256; below {goal:.0%} from batch {s.batch_below(goal):.0f}"
    )


# ---- start -----------------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    described = "\n".join(f"  {name:<11} {meaning}" for name, meaning in COLUMNS.items() if meaning)
    p = argparse.ArgumentParser(
        description=__doc__, epilog=f"columns:\n{described}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--schemes", type=words, help="members, with commas; NoPos always runs (default: all that apply)")
    p.add_argument("--inputs", type=words, default="image,text", help="with commas (default %(default)s)")
    p.add_argument("--batch", type=positive, default=8, help="images a call, and twice the texts (default 8)")
    p.add_argument("--rounds", type=positive, default=7, help="(default 7)")
    p.add_argument("--small", action="store_true", help="a tiny encoder: whether it runs, in seconds")
    p.add_argument("--csv", type=Path, help="file to write; without it the table is only printed")
    return p.parse_args(argv)


def settle(args: argparse.Namespace) -> None:
    known = [member.name for member in members("posemb")]
    args.schemes = args.schemes or known
    for option, given, valid in (("--schemes", args.schemes, known), ("--inputs", args.inputs, ("image", "text"))):
        if unknown := [x for x in given if x not in valid]:
            raise SystemExit(f"{option}: there is no {unknown[0]!r}{suggest(unknown[0], valid)}")


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    from jaxemb.log.table import table as print_table

    numbers = "batch ms ratio ratio_low ratio_high cpu_ratio goal".split()
    shown = ["input", "task", "scheme", "against", *numbers]
    title = "{device}, {cpu} ({simd}), {cores} cores, load {load}, commit {commit}\n{versions}".format(**rows[0])
    print_table([f">{x}" if x in numbers else x for x in shown], [[row[x] for x in shown] for row in rows], title=title)


def save(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS))
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    settle(args)
    origin, rows, sums = provenance(), [], []
    for work in works(args.batch, args.small):
        if work.name not in args.inputs:
            continue
        found = schemes(work, args.schemes, args.small)
        for row in measure(work, found, args.rounds, 0.0 if args.small else 0.5):
            note("{input} {task}: {scheme} takes {ratio:.3f} of {against}".format(**row))
            rows.append(row | origin)
            if args.csv:  # at once: an interrupted run keeps what it has
                save(args.csv, rows)
        sums += [explain(work, found["SeqPE"])] if "SeqPE" in found else []
    show(rows)
    print("\n".join(sums))


if __name__ == "__main__":
    from jaxemb.cli.process import restart_with_huge_pages

    restart_with_huge_pages(argparse.Namespace(huge_pages=True))  # does not return if it restarts
    main()

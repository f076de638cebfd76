"""What saving costs a training: rounds of steps that begin with a checkpoint against rounds without, in one process.

    python scripts/bench_checkpoint.py --csv results/bench_checkpoint.csv         64 MB and 350 MB of state, a save every 100 steps
    python scripts/bench_checkpoint.py --sizes vit_s --image 224 --rounds 3

State is parameters, average and two moments of AdamW in float32: 16 bytes a parameter. A step is a whole one (forward, backward,
update) of images smaller than 224 px, so that 100 of them take less time than in earnest: a real run loses less. A round
with a save does what the loop does: it waits for the last step, saves, and goes on while threads write, check and seal; what they
have not done after `--every` steps is waited for, and counts.

`thread` is the share of the wall time that the training thread spends in `Checkpoints.save`, `wall` how much longer a round takes
(median over rounds of pairs, the order changes), `cpu` the same in CPU time of all threads. `sealing` is CPU time of the checksums.
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from bench import note, positive, provenance, words

import jaxemb.run.checkpoint as checkpoint
from jaxemb import Optim
from jaxemb.config import suggest
from jaxemb.nn import Patches
from jaxemb.nn.transformer import Transformer
from jaxemb.objectives.classify import Classify
from jaxemb.ops.draws import Draws
from jaxemb.train.state import create, items_of
from jaxemb.train.step import make_step

COLUMNS = (
    "model state_mb every step_ms save_ms save_ms_max sealing_ms thread wall wall_low wall_high cpu goal rounds "
    "time commit device cpu_model simd cores load huge_pages versions command"
).split()
GOAL = 0.05
WIDTHS = {"tiny": (16, 1), "64mb": (192, 9), "350mb": (384, 12)}
"""Width and depth of what `--sizes` names."""


class Training:
    """Steps of a model, and the checkpoints of a folder."""

    def __init__(self, name: str, image: int, batch: int, folder: Path):
        width, depth = WIDTHS[name]
        objective = Classify(encoder=Transformer(stem=Patches(16), width=width, depth=depth), classes=1000)
        rng = np.random.default_rng(0)
        arrays = {"images": rng.standard_normal((batch, image, image, 3), np.float32), "labels": np.arange(batch, dtype=np.int32)}
        optim = Optim("adamw", lr=1e-4, schedule="constant", decay=0.05)
        self._batch = jax.device_put(objective.prepare(arrays, Draws((0,), batch)))
        self._state = jax.jit(lambda b: create(objective, optim.make(1000), b, seed=0, ema=True))(self._batch)
        step = jax.jit(make_step(objective, optim, steps=1000, ema=(0.996, 1.0)), donate_argnums=0)
        self._step = step.lower(self._state, self._batch).compile()
        self.checkpoints = checkpoint.Checkpoints(folder, keep=2, say=note)
        self._saves = 0

    def megabytes(self) -> float:
        return sum(x.nbytes for x in jax.tree.leaves(self._state) if not jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)) / 1e6

    def round(self, steps: int, saved: bool) -> tuple[float, float, float]:
        """Seconds of wall time, of CPU time, and in `save`."""
        began, cpu, inside = time.perf_counter(), _cpu(), 0.0
        if saved:
            self._saves += 1
            entered = time.perf_counter()
            self.checkpoints.save(self._saves, items_of(self._state), {"data": {"next": 0}})
            inside = time.perf_counter() - entered
        for _ in range(steps):
            self._state, metrics = self._step(self._state, self._batch)
            jax.block_until_ready(metrics)
        if saved:
            self.checkpoints.wait()
        return time.perf_counter() - began, _cpu() - cpu, inside


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """A row."""
    sealing: list[float] = []

    def timed(*arguments: Any, real: Any = checkpoint.seal) -> None:
        began = time.thread_time()
        real(*arguments)
        sealing.append(time.thread_time() - began)

    folder = Path(tempfile.mkdtemp(prefix="bench-checkpoint-", dir=args.folder))
    real, checkpoint.seal = checkpoint.seal, timed
    try:
        note(f"{name}: compiling")
        training = Training(name, args.image, args.batch, folder)
        training.round(2, saved=True)  # imports, and folders
        sealing.clear()
        found: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
        for i in range(args.rounds):
            for saved in ((True, False), (False, True))[i % 2]:
                found[saved].append(training.round(args.every, saved))
            longer, usual = found[True][-1][0], found[False][-1][0]
            note(f"{name}: round {i + 1} of {args.rounds}: {longer:.2f} s with a save, {usual:.2f} s without")
        megabytes = training.megabytes()
        training.checkpoints.close()
    finally:
        checkpoint.seal = real
        shutil.rmtree(folder)
    with_, without = np.array(found[True]), np.array(found[False])
    wall = with_[:, 0] / without[:, 0] - 1
    about = provenance()
    return {
        "model": f"{WIDTHS[name][0]} wide, {WIDTHS[name][1]} deep, {args.image} px, batch {args.batch}",
        "state_mb": round(megabytes),
        "every": args.every,
        "step_ms": 1e3 * np.median(without[:, 0]) / args.every,
        "save_ms": 1e3 * np.median(with_[:, 2]),
        "save_ms_max": 1e3 * with_[:, 2].max(),
        "sealing_ms": 1e3 * np.median(sealing),
        "thread": np.median(with_[:, 2] / with_[:, 0]),
        "wall": np.median(wall),
        "wall_low": wall.min(),
        "wall_high": wall.max(),
        "cpu": np.median(with_[:, 1] / without[:, 1] - 1),
        "goal": GOAL,
        "rounds": args.rounds,
        "cpu_model": about.pop("cpu"),
    } | about


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", type=words, default="64mb,350mb", help="of the state, with commas (default %(default)s)")
    p.add_argument("--every", type=positive, default=100, help="steps from save to save (default %(default)s)")
    p.add_argument("--image", type=positive, default=96, help="(default %(default)s)")
    p.add_argument("--batch", type=positive, default=16, help="(default %(default)s)")
    p.add_argument("--rounds", type=positive, default=5, help="(default %(default)s)")
    p.add_argument("--folder", type=Path, help="where checkpoints are written (default: the system's temporary folder)")
    p.add_argument("--csv", type=Path, help="file to write; without it the table is only printed")
    args = p.parse_args(argv)
    if unknown := [x for x in args.sizes if x not in WIDTHS]:
        raise SystemExit(f"--sizes: {unknown[0]!r} is not known{suggest(unknown[0], WIDTHS)}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    from jaxemb.log.table import table

    args = parse(argv)
    rows = [measure(name, args) for name in args.sizes]
    rows = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    shown = COLUMNS[: COLUMNS.index("rounds")]
    table([f">{x}" if x != "model" else x for x in shown], [[row[x] for x in shown] for row in rows])
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            writer: csv.DictWriter[Any] = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())

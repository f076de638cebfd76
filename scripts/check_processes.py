"""Do several processes train as one? Real processes of this machine, joined as those of a cluster are.

    python scripts/check_processes.py                                        equal on 1, 2 and 4 processes; 2 -> 4 -> 1
    python scripts/check_processes.py --kills 20 --csv results/processes.csv     and 20 kills between and within saves

It takes minutes: a process used 15 to 19 s of a core for one experiment (views), and the first command starts 16. Parts
(`--only`, `--experiments`, `--processes`) add their rows to the file as they are found, in place of earlier ones of the same kind.

Batches (examples, masks, views, packed rows) are compared row by row, at the row's place in the global batch, and must be equal bit
for bit. Losses and parameters are compared with those of one process with one device; they differ by the order of sums. After kills
the parameters must be those of the run that was never killed, bit for bit. Exit status 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import json
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxemb import Experiment, Optim
from jaxemb.config import ConfigError, from_json, override, to_json
from jaxemb.data import Digits, Flip, KeyValue, Shapes, Text
from jaxemb.evals import KNN
from jaxemb.layers import Projector
from jaxemb.log.table import table
from jaxemb.masks import FixedBlocks
from jaxemb.nn import Attention, Block, Patches, Predictor, Tokens, Transformer
from jaxemb.objectives import IJEPA, LeJEPA, NextToken
from jaxemb.objectives.next_token import decoder
from jaxemb.preprocess.text import BPE
from jaxemb.run.environment import environment
from jaxemb.run.metrics import read_rows
from jaxemb.train.cluster import join
from jaxemb.train.leaving import LOST
from jaxemb.views import CropViews

STEPS = 6
LOSS, PARAMETERS, SHARES = 1e-5, 1e-4, 0.01
"""How far losses (relative), parameters (absolute, after updates of 1e-3) and figures of evaluations may differ from those of one
device: of 360 images the nearest neighbour of one changed, on two devices of one process too."""
PATIENCE = 600
"""Seconds for a job: on a busy machine it compiles for minutes."""
COMPILED = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
"""What jobs have in common is compiled once."""
WORDS = "the cat sat on the mat and a dog saw it run to the red house by the sea"


class Figure(NamedTuple):
    """A line of the CSV."""

    check: str
    experiment: str
    processes: str
    devices: str
    """Of each process."""
    figure: str
    value: float
    allowed: float
    """The value may not be above this."""


KNOWN = ("jepa", "views", "drawn", "packed")
"""What can be trained."""


def experiments(folder: Path, names: Sequence[str]) -> dict[str, Experiment]:
    """Tiny ones: images with masks, drawn scenes with two views, drawn tokens, packed text."""
    text = folder / "text.txt"
    words = random.Random(0).choices(WORDS.split(), k=4000)
    text.write_text("\n".join(" ".join(words[i : i + 3 + i % 9]) for i in range(0, 4000, 8)))
    block = (Block(Attention(2)),)
    encoder = Transformer(stem=Patches(2), width=16, depth=1, blocks=block)
    data = {"jepa": Digits(augment=(Flip(),)), "views": Shapes(size=16, count_train=256, count_valid=8, count_test=8)}
    data |= {"drawn": KeyValue(length=16, decoys=1), "packed": Text(str(text), rows="packed", length=16, tokenizer=BPE(270))}
    objectives = {
        "jepa": lambda: IJEPA(encoder=encoder, predictor=Predictor(width=16, depth=1), masks=FixedBlocks()),
        "views": lambda: LeJEPA(
            encoder=encoder.clone(stem=Patches(8)), projector=Projector((16, 8)), views=CropViews(count=2), slices=16
        ),
        "drawn": lambda: NextToken(encoder=decoder(stem=Tokens(64), width=16, depth=1, blocks=block)),
        "packed": lambda: NextToken(encoder=decoder(stem=Tokens(270), width=16, depth=1, blocks=block)),
    }
    # A bias in front of a batch norm (views: the encoder's last, the projector's first) has no gradient but rounding errors, which
    # Adam divides by themselves: at eps=1e-8 these two differ by 8e-4 on 2 processes, by 7e-4 on 2 devices of one process too, and
    # all others by about 1e-5 at most.
    optim = Optim(lr=1e-3, clip=1.0, options={"eps": 1e-6})
    common: dict[str, Any] = {"optim": optim, "steps": STEPS, "batch": 16, "log_every": 1, "save_every": 1000}
    # One neighbour: all cosines of so small an encoder are nearly 1, so that the votes of many would be ties, split by rounding.
    more: dict[str, Any] = {"jepa": {"ema": (0.9, 1.0), "evals": {"knn": KNN(every=STEPS, k=1)}}}
    return {
        name: Experiment(name=name, objective=objectives[name](), data=data[name], **more.get(name, {}), **common) for name in names
    }


# ---- one process of a job --------------------------------------------------------------------------------------------------------


def work(plan: Path, how: str) -> None:
    """Trains what `plan` lists, and writes down the rows of each batch, by their place in the global batch."""
    if how:
        join(how, timeout=60)
    import jax

    import jaxemb.train.feed as feed
    from jaxemb.train.loop import train
    from jaxemb.train.sharding import data_shard, to_devices

    for run, config, stop in json.loads(plan.read_text()):
        rows: list[np.ndarray] = []

        def noted(batch: Mapping[str, Any], mesh: Any, rows: list[np.ndarray] = rows) -> Any:
            rows.append(digests(batch))
            return to_devices(batch, mesh)

        feed.to_devices = noted
        experiment = from_json(config)
        with contextlib.suppress(SystemExit), stopping(stop):
            train(experiment, run)
        shard = data_shard(feed_mesh(experiment))
        np.savez(f"{run}.rows{jax.process_index()}.npz", rows=np.stack(rows), shard=shard)


@contextlib.contextmanager
def stopping(after: int) -> Iterator[None]:
    """All processes stop after this step, as they do at SIGTERM."""
    from jaxemb.train.signals import Stop

    wanted = Stop.wanted

    def instead(self: Stop, step: int) -> bool:
        self.signal = signal.SIGTERM if step == after else None
        return step == after or wanted(self, step)

    Stop.wanted = instead
    try:
        yield
    finally:
        Stop.wanted = wanted


def feed_mesh(experiment: Experiment) -> Any:
    from jaxemb.train.sharding import make_mesh

    return make_mesh(experiment.mesh)


def digests(batch: Mapping[str, Any]) -> np.ndarray:
    """A checksum a row, over all arrays of a batch."""
    import jax

    leaves = [np.asarray(x) for x in jax.tree.leaves(dict(batch))]
    return np.asarray([zlib.crc32(b"".join(np.ascontiguousarray(x[i]).tobytes() for x in leaves)) for i in range(len(leaves[0]))])


# ---- jobs ------------------------------------------------------------------------------------------------------------------------


def job(plan: Sequence[tuple[Path, Experiment]], processes: int, devices: int, stop: int = -1) -> list[subprocess.Popen]:
    """The processes of a job, started. `stop`: after this step, as at SIGTERM."""
    file = Path(f"{plan[0][0]}.plan.json")
    file.write_text(json.dumps([(str(run), to_json(x), stop) for run, x in plan]))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    flags = re.sub(r"\S*device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    env = COMPILED | {"JAX_COMPILATION_CACHE_DIR": str(plan[0][0].parents[1] / "compiled")} | os.environ
    env |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, __file__, "--worker", str(file)]
    return [
        subprocess.Popen(
            [*command, *([f"{address},{processes},{i}"] if processes > 1 else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
        )
        for i in range(processes)
    ]


def finished(started: Sequence[subprocess.Popen], status: int = 0) -> None:
    """Waits for processes that must all end so."""
    for p in started:
        said, _ = p.communicate(timeout=PATIENCE)
        if p.returncode != status:
            raise ConfigError(f"a process ended with {p.returncode} where {status} was expected:\n{said[-3000:]}")


def batches(run: Path) -> np.ndarray:
    """The checksums of a run's batches, (steps, rows), each row at its place. Refuses shares that are not whole and apart."""
    shares = [np.load(file) for file in sorted(run.parent.glob(f"{run.name}.rows*.npz"))]
    by_shard = {int(x["shard"][0]): x["rows"] for x in shares}
    count = int(shares[0]["shard"][1])
    steps = min(len(rows) for rows in by_shard.values())
    whole = np.zeros((steps, count * by_shard[0].shape[1]), np.int64)
    for i in range(count):
        whole[:, i::count] = by_shard[i][:steps]
    return whole[:STEPS]


def losses(run: Path) -> np.ndarray:
    return np.asarray([row["loss"] for row in read_rows(run) if "loss" in row])


def neighbours(run: Path) -> np.ndarray:
    """What evaluations by nearest neighbours found, which every process encodes a share of the images for."""
    return np.asarray([row["knn/top1"] for row in read_rows(run) if "knn/top1" in row])


def parameters(experiment: Experiment, run: Path) -> list[np.ndarray]:
    """Of the newest checkpoint: parameters and average."""
    import jax

    from jaxemb.run.checkpoint import Checkpoints
    from jaxemb.train.setup import state_shapes
    from jaxemb.train.sharding import make_mesh
    from jaxemb.train.state import items_of

    items = items_of(state_shapes(experiment, make_mesh({"data": 1}, jax.local_devices()[:1])))
    wanted = {name: tree for name, tree in items.items() if name in ("params", "ema")}
    return [np.asarray(x) for x in jax.tree.leaves(Checkpoints(run / "checkpoints", say=quiet).restore(wanted).items)]


def quiet(text: str) -> None:
    pass


def furthest(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


# ---- what is checked -------------------------------------------------------------------------------------------------------------


def equality(folder: Path, found: Mapping[str, Experiment], counts: Sequence[int], total: int) -> Iterator[Figure]:
    """The same experiments on 1 device, and on `total` devices of each number of processes."""
    jobs = [("one", 1, 1), *((f"p{n}", n, total // n) for n in counts)]
    for name, n, devices in jobs:
        (folder / name).mkdir()
        finished(job([(folder / name / x, e) for x, e in found.items()], n, devices))
    for name, n, devices in jobs[1:]:
        for x, experiment in found.items():
            one, run = folder / "one" / x, folder / name / x
            line = ("equality", x, str(n), str(devices))
            wrong = batches(one) != batches(run)
            yield Figure(*line, "rows of batches that differ", float(wrong.sum()), 0)
            yield Figure(*line, "loss, largest relative difference", float(np.abs(losses(run) / losses(one) - 1).max()), LOSS)
            difference = furthest(parameters(experiment, one), parameters(experiment, run))
            yield Figure(*line, "parameters, largest difference", difference, PARAMETERS)
            if len(seen := neighbours(one)):
                yield Figure(*line, "k-NN accuracy, largest difference", float(np.abs(neighbours(run) - seen).max()), SHARES)


def changing(folder: Path, experiment: Experiment) -> Iterator[Figure]:
    """A third on 2 processes, a third on 4 with parameters cut over devices, a third on one: against all on one."""
    (folder / "changing").mkdir()
    whole, run = folder / "changing" / "whole", folder / "changing" / "parts"
    finished(job([(whole, experiment)], 1, 1))
    third = experiment.steps // 3
    cut = ['mesh={"data": -1, "fsdp": 2}', 'sharding=[[".*", "fsdp"]]']
    for i, (n, devices, changes) in enumerate([(2, 1, []), (4, 1, cut), (1, 2, [])]):
        finished(job([(run, override(experiment, changes))], n, devices, stop=(i + 1) * third))
    line = ("changing", experiment.name, "2 -> 4 -> 1", "1 -> 1 -> 2")
    yield Figure(*line, "loss, largest relative difference", float(np.abs(losses(run) / losses(whole) - 1).max()), LOSS)
    yield Figure(
        *line, "parameters, largest difference", furthest(parameters(experiment, whole), parameters(experiment, run)), PARAMETERS
    )


def killed(folder: Path, experiment: Experiment, kills: int, seed: int) -> Iterator[Figure]:
    """SIGKILL to one of two processes, or both, at random moments of a run that saves at every step; started again each time."""
    (folder / "killed").mkdir()
    rng = random.Random(seed)
    x = override(experiment, [f"steps={12 * (kills + 1)}", "save_every=1"])
    whole, run = folder / "killed" / "whole", folder / "killed" / "run"
    finished(job([(whole, override(x, ["save_every=1000"]))], 2, 1))
    slowest, back = 0.0, 0
    for _ in range(kills):
        started = job([(run, x)], 2, 1)
        shown = lines_of(started[0])
        first, last = until_steps(shown, rng.randint(1, 8))
        time.sleep(rng.random() * 0.3)
        victims = rng.choice([(0,), (1,), (0, 1)])
        began = time.monotonic()
        for i in victims:
            started[i].send_signal(signal.SIGKILL)
        finished([p for i, p in enumerate(started) if i not in victims], LOST)
        slowest = max(slowest, time.monotonic() - began) if len(victims) == 1 else slowest
        for i in victims:
            started[i].communicate()
        back = max(back, last - newest(run))
    finished(job([(run, x)], 2, 1))
    line = ("kills", experiment.name, "2", "1")
    yield Figure(*line, "kills", kills, kills)
    yield Figure(*line, "slowest survivor to leave, s", slowest, 10)
    yield Figure(*line, "steps lost beyond the last save that was whole", max(back - 2, 0), 0)
    yield Figure(*line, "parameters, largest difference", furthest(parameters(x, whole), parameters(x, run)), 0)


def lines_of(process: subprocess.Popen) -> Iterator[str]:
    return iter(process.stdout or ())


def until_steps(lines: Iterator[str], count: int) -> tuple[int, int]:
    """Reads up to the line of so many steps; the first and the last of them."""
    steps = []
    for line in lines:
        if found := re.match(r"step +(\d+)/", line):
            steps.append(int(found[1]))
        if len(steps) == count:
            return steps[0], steps[-1]
    raise ConfigError("the job ended before it was killed")


def newest(run: Path) -> int:
    from jaxemb.run.checkpoint import Checkpoints

    return max(Checkpoints(run / "checkpoints", say=quiet).sealed(), default=0)


# ---- the command -----------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--processes", default="1,2,4", metavar="N,N", help="numbers of processes (1,2,4)")
    p.add_argument("--devices", type=int, default=4, metavar="N", help="devices of all processes together (4)")
    p.add_argument("--experiments", default=",".join(KNOWN), metavar="A,B", help="some of %(default)s")
    p.add_argument("--only", choices=("equality", "changing", "kills"))
    p.add_argument("--kills", type=int, default=0, metavar="N")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the kills")
    p.add_argument("--csv", metavar="FILE", help="write the figures there as well")
    p.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    args = p.parse_args(argv)
    if args.worker:
        work(Path(args.worker[0]), (args.worker[1:] or [""])[0])
        return 0
    names = args.experiments.split(",")
    if unknown := [name for name in names if name not in KNOWN]:
        p.error(f"argument --experiments: {unknown[0]!r} is not one of {', '.join(KNOWN)}")
    counts = [int(n) for n in args.processes.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = experiments(folder, names)
        main = next(iter(found.values()))
        parts: dict[str, Iterator[Figure]] = {
            "equality": equality(folder, found, counts, args.devices),
            "changing": changing(folder, main),
            "kills": killed(folder, main, args.kills, args.seed) if args.kills else iter(()),
        }
        figures: list[Figure] = []
        for figure in itertools.chain(*(part for name, part in parts.items() if args.only in (None, name))):
            figures.append(figure)
            if args.csv:
                write(Path(args.csv), figures)
    table(Figure._fields, figures)
    wrong = [f for f in figures if not f.value <= f.allowed]
    for f in wrong:
        print(f"NOT AS IT SHOULD BE: {f.check} of {f.experiment} on {f.processes} processes: {f.figure} {f.value} > {f.allowed}")
    return bool(wrong)


def write(file: Path, figures: Sequence[Figure]) -> None:
    """With the rows of other parts that the file holds already."""
    env = environment()
    where = {"commit": (env["commit"] or "")[:9] + "+" * bool(env["dirty"]), "machine": env["machine"]}
    where |= {"jax": env["versions"]["jax"], "command": shlex.join(["python", "scripts/check_processes.py", *sys.argv[1:]])}
    found = {figure[:4] for figure in figures}
    with file.open(newline="") if file.exists() else contextlib.nullcontext(()) as f:
        kept = [row for row in csv.DictReader(f) if tuple(row[name] for name in Figure._fields[:4]) not in found]
    with file.open("w", newline="") as f:
        rows = csv.DictWriter(f, [*Figure._fields, *where], lineterminator="\n")
        rows.writeheader()
        rows.writerows([*kept, *({**figure._asdict(), "value": f"{figure.value:.4g}", **where} for figure in figures)])


if __name__ == "__main__":
    sys.exit(main())

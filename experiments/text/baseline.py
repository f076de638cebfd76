"""A pretrained encoder on three collections: what it scores as it is, cut shorter, and pooled as it was not trained to be.

    python -m experiments.text.baseline MODEL DATA --csv results/text_baseline.csv
    python -m experiments.text.baseline --table results/text_baseline.csv

MODEL is a folder or an id of the hub (sentence-transformers/all-MiniLM-L6-v2). DATA holds retrieval/cranfield and
retrieval/limit_small in BEIR's layout and sts/stsb_en/test.csv. Each line of the table is what `jaxemb eval` says of the model with
these `--set`s; nothing is trained, and no figure has a deviation: the same texts give the same vectors.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path

from jaxemb.io.evaluate import evaluate
from jaxemb.run.environment import environment

SETTINGS: dict[str, tuple[str, ...]] = {
    "as published": (),
    "64 tokens": ("max_length=64",),
    "512 tokens": ("max_length=512",),
    "class token": ("pooling=cls",),
    "query: before queries": (),
}
"""What is changed: arguments of `Embedder.from_pretrained`."""
PROMPTS = {"query: before queries": "query: "}
"""What goes before queries; MiniLM was trained without."""
SHOWN = ("cranfield/ndcg@10", "cranfield/recall@100", "limit/recall@2", "limit/recall@10", "limit/ndcg@10", "stsb/spearman")


def evaluations(data: str, prompt: str) -> list[str]:
    retrieval, sts, asked = "jaxemb.evals.retrieval:Retrieval", "jaxemb.evals.sts:STS", f"query_prompt={prompt!r}"
    return [
        f"evals.cranfield={retrieval}(path='{data}/retrieval/cranfield', at=(10, 100), {asked})",
        f"evals.limit={retrieval}(path='{data}/retrieval/limit_small', at=(2, 10), {asked})",
        f"evals.stsb={sts}(path='{data}/sts/stsb_en/test.csv')",
    ]


def measured(model: str, data: str, name: str) -> list[dict[str, str]]:
    """A row a figure."""
    found = evaluate(model, changes=[*evaluations(data, PROMPTS.get(name, "")), *SETTINGS[name]])
    where = environment()
    about = {
        "seeds": "0",
        "config": hashlib.blake2b(" ".join([name, *SETTINGS[name]]).encode(), digest_size=6).hexdigest(),
        "commit": f"{str(where['commit'])[:9]}{'+' if where['dirty'] else ''}",
        "machine": where["machine"],
        "devices": f"{len(where['devices'])} x {where['devices'][0]}",
        "jax": where["versions"]["jax"],
        "command": "python -m experiments.text.baseline MODEL DATA",
    }
    figures = {f"{e}/{f}": value for e, own in found.items() for f, value in own.items()}
    values = [{"mean": f"{value:.5g}", "std": "", "values": f"{value:.5g}"} for value in figures.values()]
    return [{"experiment": name, "step": "0", "figure": f} | v | about for f, v in zip(figures, values, strict=True)]


def table(rows: list[dict[str, str]]) -> str:
    """A line a setting, in Markdown, in hundredths."""
    value = {(row["experiment"], row["figure"]): f"{100 * float(row['mean']):.1f}" for row in rows}
    names = list(dict.fromkeys(row["experiment"] for row in rows))
    lines = [["MiniLM", *SHOWN], ["---"] * (len(SHOWN) + 1), *([n, *(value[n, f] for f in SHOWN)] for n in names)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="some of them")
    parser.add_argument("--csv", help="where to write all figures")
    parser.add_argument("--table", metavar="FILE.csv", help="print the table of a file")
    args = parser.parse_args()
    if args.table:
        with open(args.table, newline="") as stream:
            print(table(list(csv.DictReader(stream))))
        return
    if not (args.model and args.data):
        parser.error("MODEL and DATA, or --table FILE.csv")
    rows: list[dict[str, str]] = []
    for name in args.settings.split(","):
        rows += measured(args.model, args.data, name)
        if args.csv:
            write(Path(args.csv), rows)
    print(table(rows))


def write(file: Path, rows: list[dict[str, str]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

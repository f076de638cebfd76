"""The table of docs/scale.md: I-JEPA from ViT-B to ViT-g and a 7B text encoder on slices of TPUs, by `jaxemb compile`.

    python scripts/scale.py --dry-run         the commands, one a line
    python scripts/scale.py                   runs those that results/scale.csv has no row of yet, one after the other
    python scripts/scale.py --markdown        the table of what is there

Each command compiles for two or three minutes on two cores and takes up to 5 GiB.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "results" / "scale.csv"
SLICES = ("v5e-8", "v5e-64", "v5e-256", "v5p-64")
MODELS = {
    "ViT-B/16 I-JEPA": "experiments/scale/ijepa.py:vit_b",
    "ViT-L/16 I-JEPA": "experiments/scale/ijepa.py:vit_l",
    "ViT-g/16 I-JEPA": "experiments/scale/ijepa.py:vit_g",
    "7B text encoder": "experiments/scale/text_7b.py",
}
AS_IT_IS: tuple[str, ...] = ()
SETTINGS: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {
    # No width of ViT-g (1408 = 11 x 128) can be cut into 256 parts.
    ("ViT-g/16 I-JEPA", "v5e-256"): (('mesh={"data": 2, "fsdp": 128}',),),
    # Of the whole batch at once the activations have no room. Micro-batches have their own negatives each, pieces share all.
    ("7B text encoder", "v5e-8"): (AS_IT_IS, ("objective.pieces=128",)),
    ("7B text encoder", "v5e-64"): (AS_IT_IS, ("accumulate=2",), ("objective.pieces=4",)),
}
"""What differs from the experiment's own fields; several make several rows."""


def command(model: str, slice_: str, changes: tuple[str, ...], table: Path) -> list[str]:
    settings = [part for change in changes for part in ("--set", change)]
    shown = table.relative_to(ROOT) if table.is_relative_to(ROOT) else table
    return ["jaxemb", "compile", MODELS[model], "--topology", slice_, "--no-encode", *settings, "--csv", str(shown)]


def commands(table: Path) -> list[list[str]]:
    pairs = [(model, slice_) for slice_ in SLICES for model in MODELS]
    return [command(*pair, changes, table) for pair in pairs for changes in SETTINGS.get(pair, (AS_IT_IS,))]


def rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def done(table: Path) -> set[str]:
    return {row["command"] for row in rows(table)}


def typed(command: str) -> str:
    """Without the table that it writes."""
    words = shlex.split(command)
    return shlex.join(word for word, before in zip(words, ["", *words]) if "--csv" not in (word, before))


def markdown(table: Path) -> str:
    """A line a row, the command beside the figures; what is none of `commands` comes last."""
    names = {target: model for model, target in MODELS.items()}
    lines = [
        "| model | slice | batch | fits | GB a chip (of) | roofline ms, bound by | MFU at most | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    order = {typed(shlex.join(words)): i for i, words in enumerate(commands(table))}
    for row in sorted(rows(table), key=lambda row: order.get(typed(row["command"]), len(order))):
        model = next((names[word] for word in shlex.split(row["command"]) if word in names), row["experiment"])
        batch = row["batch"] + (f" in {row['accumulate']} pieces" if row["accumulate"] != "1" else "")
        needed = f"{row['gb_a_chip'] or '?'} ({row['gb_available']})"
        bound = "FLOPs alone" if row["arithmetic"] else row["bound"]
        line = f"{float(row['roofline_ms']):,.0f}, {bound}" if row["roofline_ms"] else ""
        mfu = "" if row["arithmetic"] or not row["mfu_bound"] else f"{100 * float(row['mfu_bound']):.0f} %"
        cells = (model, row["topology"], batch, row["fits"], needed, line, mfu, f"`{typed(row['command'])}`")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--csv", type=Path, default=TABLE, metavar="FILE", help="the table (results/scale.csv)")
    options.add_argument("--only", default="", metavar="TEXT", help="commands that contain this")
    options.add_argument("--dry-run", action="store_true", help="print the commands")
    options.add_argument("--markdown", action="store_true", help="print the table")
    args = options.parse_args()
    if args.markdown:
        print(markdown(args.csv))
        return 0
    failed = 0
    for words in commands(args.csv.resolve()):
        line = shlex.join(words)
        if args.only not in line or (not args.dry_run and line in done(args.csv)):
            continue
        print(line, flush=True)
        if not args.dry_run:
            failed += subprocess.run([sys.executable, "-m", *words], cwd=ROOT).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())

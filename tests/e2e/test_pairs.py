"""Pairs of one's own, trained by the command that the README prints."""

import json
from pathlib import Path

import numpy as np

from jaxemb.cli import main
from jaxemb.run.folder import Run

ROOT = Path(__file__).parents[2]
COMMAND = ("experiments/text/pairs.py", "--set", "data.path=my.jsonl")
TINY = (
    "steps=2",
    "batch=4",
    "log_every=1",
    "mesh={'data': 1}",
    "data.buckets=()",
    "data.length=8",
    "objective.encoder.width=8",
    "objective.encoder.depth=1",
)


def test_one_override_trains_on_a_file_of_ones_own(tmp_path, monkeypatch):
    """The small experiment of the file, smaller still; its `main` is a pretrained model where there is one."""
    assert f"jaxemb train {' '.join(COMMAND)}\n" in (ROOT / "README.md").read_text()
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"what is {i}", "answer": f"the number {i}"} for i in range(30)]
    Path("my.jsonl").write_text("\n".join(map(json.dumps, rows)))
    file, *own = COMMAND
    tiny = [word for change in TINY for word in ("--set", change)]
    assert main(["train", f"{ROOT / file}:small", *own, *tiny, "--run", "run"]) == 0
    run = Run("run")
    losses = [row["loss"] for row in run.metrics() if "loss" in row]
    assert len(losses) == 2 and np.isfinite(losses).all() and run.experiment().data.path == "my.jsonl"

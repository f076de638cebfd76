"""scripts/bench_pairs.py: the check that no chip holds the matrix of all pairs can fail."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import bench_pairs

SMALL = (
    "batch=64",
    "objective.pieces=2",
    "objective.encoder.width=8",
    "objective.encoder.depth=1",
    "objective.encoder.blocks.0.attention.heads=2",
    "objective.encoder.blocks.0.mlp.hidden=8",
    "objective.encoder.stem.vocabulary=16",
    "objective.encoder.pos.shape=(8,)",
    "data.length=4",
    "data.tokenizer.vocabulary=300",
)


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["bench_pairs.py", *args, *(f"--set={change}" for change in SMALL)])
    bench_pairs.main()


def test_the_matrix_lies_on_eight_devices_and_not_on_one(monkeypatch, tmp_path, capsys):
    file = tmp_path / "own.csv"
    run(monkeypatch, "compile", "--topology", "cpu:8", "--csv", str(file))
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert rows[-1]["figure"] == "one n x n matrix in float32" and rows[0]["case"] == "64 pairs on cpu:8"
    assert "f32" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="a chip holds the whole matrix"):
        run(monkeypatch, "compile", "--topology", "cpu:1")


def test_it_runs_in_a_fresh_clone(tmp_path):
    """Python puts scripts/ on its path and not the folder above it, where experiments/ is."""
    command = [sys.executable, bench_pairs.__file__, "compile", "--topology", "cpu:1", "--set", "nonsense=1"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "has no field 'nonsense'" in done.stderr, done.stderr


def test_scripts_that_need_experiments_find_them():
    for file in Path(bench_pairs.__file__).parent.glob("*.py"):
        text = file.read_text()
        assert "from experiments" not in text or "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))" in text, file

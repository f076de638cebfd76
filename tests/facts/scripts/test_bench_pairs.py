"""scripts/bench_pairs.py: the check that no chip holds the matrix of all pairs can fail."""

import csv
import sys

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

"""Queries a second at equal recall, at the smallest size."""

import csv
import os

import numpy as np
import pytest
from libraries import standing_in

from experiments.retrieval import equal_recall
from jaxemb.index import IVF


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(equal_recall, "BATCH", 8)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None)
    return "--sets planted --rows 200 --width 16 --rounds 1 --calls 2 --threads 1".split()


def test_a_table(small, tmp_path, capsys):
    with standing_in("hnswlib"):
        equal_recall.main([*small, "--systems", "Exact;IVF;bits, then float32;hnswlib", "--out", str(tmp_path / "own.csv")])
    with (tmp_path / "own.csv").open() as file:
        rows = {(r["system"], r["figure"]): float(r["mean"]) for r in csv.DictReader(file)}
    assert rows["Exact", "bytes"] == 64 < rows["bits, then float32", "bytes"] < 70
    for system in ("Exact", "IVF", "hnswlib"):
        for target in equal_recall.TARGETS:
            assert rows[system, f"recall@10 at {target}"] >= target
            assert rows[system, f"queries/s of 1 at {target}"] > 0 < rows[system, f"CPU ms of 8 at {target}"]
    assert rows["IVF", "setting at 0.9"] <= rows["IVF", "setting at 0.99"] <= 14
    equal_recall.main(["--table", "--out", str(tmp_path / "own.csv")])
    assert "| planted | bytes a row | build s | of 1, 0.9 |" in capsys.readouterr().out.splitlines()[-6]


def test_the_first_setting_that_reaches_a_recall(monkeypatch):
    x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    built, truth = IVF(lists=4).build(x), np.broadcast_to(np.arange(10), (2, 10))
    system = equal_recall.System(built.index, "probes", (1, 2, 3, 4))
    recalls = iter([0.5, 0.96, 0.97, 1.0])
    monkeypatch.setattr(equal_recall, "overlap", lambda ids, truth: next(recalls))
    found = dict(equal_recall.chosen(system, built, x[:2], truth))
    assert {t: (c.setting, c.recall, c.built.index.probes) for t, c in found.items()} == {
        0.9: (2, 0.96, 2),
        0.95: (2, 0.96, 2),
        0.99: (4, 1.0, 4),
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rows", "200"], "with --rows it is another table"),
        (["--threads", "99"], "--threads 99, and this process may use"),
    ],
)
def test_what_is_no_published_run(given, says, capsys):
    with pytest.raises(SystemExit):
        equal_recall.main(given)
    assert says in capsys.readouterr().err

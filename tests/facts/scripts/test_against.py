"""The comparison gives both systems the same task, in processes of their own, and writes a row of each."""

import csv
import importlib
import pathlib
import sys

import numpy as np
import pytest

from jaxemb.train.optim import Optim

SCRIPTS = pathlib.Path(__file__).parents[3] / "scripts"


@pytest.fixture
def against(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("against_sentence_transformers")
    sys.modules.pop("against_sentence_transformers", None)


@pytest.mark.parametrize(("torch", "systems"), [("/torch/python", 3), (None, 1)])
def test_a_row_a_system_and_seed(against, monkeypatch, tmp_path, torch, systems):
    ran = []

    def run(python, task, **arguments):
        ran.append((python, task, arguments))
        figures = {"modules": 0.5, "libraries": 0.25}
        return figures if task.startswith("measured") else {"loss": 1 / 3, "samples_s": 8.0, "cpu_s": 9.0}

    monkeypatch.setattr(against, "run", run)
    asked = [
        "x",
        "DATA",
        str(tmp_path / "out"),
        "--steps",
        "5",
        "--seeds",
        "2",
        "--model",
        "MODEL",
        "--csv",
        str(tmp_path / "t.csv"),
    ]
    monkeypatch.setattr(sys, "argv", asked + (["--torch-python", torch] if torch else []))
    against.main()
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    names = ["jaxemb", "opened", "sentence-transformers"][:systems]
    assert [(r["system"], r["seed"]) for r in rows] == [("before", "0"), *((n, str(s)) for s in (0, 1) for n in names)]
    assert rows[1]["modules"] == "0.5" and rows[1]["loss"] == "0.33333" and rows[0]["loss"] == ""
    trained = [(task, a["seed"], a["steps"]) for _, task, a in ran if task.startswith("trained")]
    both = ["trained_by_jaxemb", "trained_by_torch"][: 2 if torch else 1]
    assert trained == [(task, seed, 5) for seed in (0, 1) for task in both]
    assert all(python == (torch if "torch" in task else sys.executable) for python, task, _ in ran)
    assert len({a["length"] for _, _, a in ran if "length" in a}) == 1


def test_a_task_that_fails_is_named(against, tmp_path):
    with pytest.raises(SystemExit, match="no_such_task failed in .*python"):
        against.run(sys.executable, "no_such_task")


def test_both_have_the_same_schedule(against):
    optim = Optim("adamw", lr=1.0, warmup=against.WARMUP)
    for steps in (12, 40):
        ours = [float(optim.lr_at(t, steps)) for t in range(1, steps + 1)]
        np.testing.assert_allclose([against.rate(t, steps) for t in range(1, steps + 1)], ours, atol=1e-6)

"""The benchmark of the input runs from end to end, and its figures follow from what was timed."""

import csv
import itertools

import pytest


@pytest.fixture
def bench(script):
    return script("bench_input")


def test_what_a_step_needs(bench):
    assert bench.step_flops() == pytest.approx(3 * 2 * 4.58e9, rel=0.02)  # 4.6 G multiply-adds forward, as published
    needed = {chip: bench.MFU * peak * 1e12 / bench.step_flops() for chip, peak in bench.CHIPS.items()}
    assert 2700 < needed["v5e"] < 3000 and needed["h100"] / needed["v5e"] == pytest.approx(989 / 197)


def test_every_system_is_timed_as_often_and_ended(bench):
    asked, ended = [], []

    def system(name):
        return lambda: ((asked.append(name) for _ in itertools.count()), lambda: ended.append(name))

    times = bench.timed({name: system(name) for name in "ab"}, count=3, rounds=2)
    assert {name: t.shape for name, t in times.items()} == {"a": (2, 2), "b": (2, 2)} and ended == ["a", "b", "b", "a"]
    assert asked == ["a"] * 5 + ["b"] * 10 + ["a"] * 5  # two that are not timed, and three


def test_it_runs_on_drawn_files(bench, tmp_path):
    out = tmp_path / "input.csv"
    small = ["--images", "24", "--batch", "4", "--batches", "1", "--rounds", "1", "--out", str(out)]
    bench.main([*small, "--tasks", "cifar,records", "--systems", "jaxemb"])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["task"], r["system"]) for r in rows] == [("cifar", "jaxemb"), ("records", "jaxemb")]
    assert all(float(r["images_s"]) > 0 for r in rows) and rows[0]["cores_v5e"] == "" and 3e4 < float(rows[1]["bytes"]) < 9e4
    assert float(rows[1]["cores_v5e"]) == pytest.approx(float(rows[1]["needed_v5e"]) / float(rows[1]["images_cpu_s"]), rel=1e-3)
    assert rows[0]["command"] and rows[0]["commit"] and "numpy=" in rows[0]["versions"]


@pytest.mark.parametrize(
    "arguments", [["--tasks", "jpg"], ["--systems", "tf"], ["--core", "0", "--workers", "2"], ["--images", "50"]]
)
def test_wrong_arguments(bench, arguments, capsys):
    with pytest.raises(SystemExit):
        bench.parse(arguments)
    assert "valid: " in capsys.readouterr().err or arguments[0] in ("--core", "--images")

"""The benchmark of training steps compares each system with what it builds on, within a round."""

import csv

import pytest


@pytest.fixture(scope="module")
def bench(script):
    return script("bench_steps")


def test_a_run_writes_a_row_for_each_system(bench, tmp_path, capsys):
    path = tmp_path / "deep" / "bench.csv"
    bench.main(["--small", "--batch", "2", "--rounds", "1", "--groups", "masked", "--csv", str(path)])
    with path.open(newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(next(iter(rows.values()))) == bench.COLUMNS
    assert {n: r["against"] for n, r in rows.items()} == {
        "Classify": "Classify",
        "IJEPA": "Classify",
        "DMTJEPA": "IJEPA",
        "MAE": "Classify",
        "HardPatches": "MAE",
    }
    assert float(rows["Classify"]["ratio"]) == float(rows["Classify"]["flop_ratio"]) == 1
    assert float(rows["MAE"]["flop_ratio"]) < 1 < float(rows["DMTJEPA"]["flop_ratio"])  # hidden patches are not encoded
    for row in rows.values():
        assert float(row["per_flop"]) == pytest.approx(float(row["ratio"]) / float(row["flop_ratio"]), rel=1e-3)
    assert "per_flop" in capsys.readouterr().out


def test_groups_that_are_not_there(bench):
    with pytest.raises(SystemExit, match="--groups: 'mask' is not known; did you mean 'masked'"):
        bench.parse(["--groups", "mask"])
    with pytest.raises(SystemExit, match="--model: 'vit_x' is not known"):
        bench.parse(["--model", "vit_x"])


@pytest.mark.parametrize(
    "words, said",
    [
        (["--systems", "IJEPE"], "--systems: 'IJEPE' is not known; did you mean 'IJEPA'"),
        (["--networks", "vit_x"], "--networks: 'vit_x' is not known"),
        (["--systems", "Classify,DMTJEPA"], "--systems: DMTJEPA is compared with IJEPA, which is not among them"),
    ],
)
def test_systems_that_are_not_there(bench, words, said):
    with pytest.raises(SystemExit, match=said):
        bench.chosen(bench.parse(words))


def test_some_of_the_systems(bench):
    groups = bench.chosen(bench.parse("--systems Classify,IJEPA,plain,TrAct --networks vit_s".split()))
    assert [(g.model, list(g.systems)) for g in groups] == [("vit_s", ["Classify", "IJEPA"]), ("vit_s", ["plain", "TrAct"])]

import csv
import json

import pytest

from jaxemb.config import ConfigError


@pytest.fixture(scope="module")
def speedup(script):
    return script("speedup")


@pytest.fixture
def runs(tmp_path):
    """make(name, steps, seed, end): a run folder whose accuracy is `end` at its last step, and half of it half way."""

    def make(name, steps, seed, end):
        folder = tmp_path / f"{name}_{steps}_{seed}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"name": name, "steps": steps, "seed": seed}))
        lines = [{"step": steps // 2, "test/top1": end / 2}, {"step": steps, "test/top1": end}]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))

    for seed in (0, 1):
        for steps, base, ours in ((10, 0.4, 0.5), (20, 0.5, 0.6), (40, 0.55, 0.65)):
            make("base", steps, seed, base + 0.02 * seed)
            make("ours", steps, seed, ours + 0.02 * seed)
    return tmp_path


def test_epochs_are_interpolated_between_budgets(speedup):
    reached = {10: 0.4, 40: 0.6}
    bound, at = speedup.needed(reached, 0.5)
    assert bound == "" and at == pytest.approx(20), "half way on the logarithmic axis"
    assert speedup.needed(reached, 0.4) == ("<=", 10)
    assert speedup.needed(reached, 0.3) == ("<=", 10)
    assert speedup.needed(reached, 0.7) == (">", 40)


def test_figures_and_picture_of_two_methods(speedup, runs, capsys):
    out, table = runs / "x.png", runs / "x.csv"
    pair = f"SGD={runs}/base_*,{runs}/ours_*"
    speedup.main([pair, "--epoch", "10", "--out", str(out), "--csv", str(table)])
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [r["epochs"] for r in rows] == ["1", "2", "4"]
    assert [r["ratio"] for r in rows] == [">= 1.00", ">= 2.00", "2.83"], "0.56 is half way between 10 and 20 steps"
    assert float(rows[2]["gain"]) == pytest.approx(10) and float(rows[2]["baseline_std"]) == pytest.approx(1.414, rel=1e-3)
    said = capsys.readouterr().out
    assert "56.0 ± 1.4" in said and "66.0 ± 1.4" in said and "2.83" in said
    assert out.stat().st_size > 5000


def test_runs_that_are_not_there_or_not_done_are_named(speedup, runs):
    with pytest.raises(ConfigError, match=r"no finished run with the figure 'test/top1' fits '.*nothing_\*'"):
        speedup.main([f"a={runs}/nothing_*,{runs}/ours_*"])
    with pytest.raises(ConfigError, match=r"no finished run with the figure 'knn/top1'"):
        speedup.main([f"a={runs}/base_*,{runs}/ours_*", "--y", "knn/top1"])
    with pytest.raises(ConfigError, match=r"a: the two have no budget in common: \[10\] and \[40\] steps"):
        speedup.main([f"a={runs}/base_10_*,{runs}/ours_40_*"])


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["a"], "'a' is not NAME=BASELINE,METHOD"),
        (["a=b"], "'a=b' is not NAME=BASELINE,METHOD"),
        (["a=b,c", "--epoch", "0"], "--epoch must be at least 1, not 0"),
        (["a=b,c", "--labels", "x"], "--labels='x' is not BASELINE,METHOD"),
    ],
)
def test_wrong_arguments_are_explained(speedup, wrong, said, capsys):
    with pytest.raises(SystemExit):
        speedup.main(wrong)
    assert said in capsys.readouterr().err

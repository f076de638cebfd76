"""Model selection without labels, from files written by hand."""

import json
import math

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.log.pick import lines, pick, rank_correlation, verdict


@pytest.fixture
def sweep(tmp_path):
    """sweep({lr: [(rank, accuracy) of each seed]}): run folders of a sweep over optim.lr."""

    def make(settings, **more):
        runs = []
        for lr, seeds in settings.items():
            for seed, (rank, accuracy) in enumerate(seeds):
                run = tmp_path / f"lr{lr}-{seed}"
                run.mkdir()
                config = {"name": f"lr{lr}", "seed": seed, "optim": {"lr": lr}} | {k: v[lr] for k, v in more.items()}
                (run / "config.json").write_text(json.dumps(config))
                (run / "metrics.jsonl").write_text(
                    json.dumps({"step": 0, "rank/rankme": 99.0, "few/top1": 0.0})
                    + "\n"
                    + json.dumps({"step": 9, "rank/rankme": rank, "few/top1": accuracy})
                    + "\n"
                )
                runs.append(run)
        return runs

    return make


FOUND = {"by": "rank/rankme", "oracle": "few/top1"}


def test_the_pick_of_each_seed_is_held_against_its_best(sweep):
    report = pick(sweep({0.1: [(5.0, 0.6), (9.0, 0.7)], 0.2: [(8.0, 0.5), (7.0, 0.8)], 0.3: [(1.0, 0.1), (1.0, 0.2)]}), **FOUND)
    assert report.picks == {0: "lr0.2", 1: "lr0.1"} and report.oracles == {0: "lr0.1", 1: "lr0.2"}
    assert report.cost == {0: pytest.approx(0.1), 1: pytest.approx(0.1)}
    assert report.range == {0: pytest.approx(0.5), 1: pytest.approx(0.6)}
    assert [c.name for c in report.candidates] == ["lr0.2", "lr0.1", "lr0.3"]
    header, rows = lines(report, "rank/rankme", "few/top1")
    assert header[1:3] == ["setting", ">rank/rankme"]
    assert rows[0] == ["lr0.2", "optim.lr=0.2", "7.5 ± 0.71", "0.65 ± 0.21", "1", "1"]
    assert verdict(report).startswith("best less picked: 0.1 ± ") and verdict(report).endswith("2 seeds")


def test_on_a_plateau_the_extreme_setting_is_picked(sweep):
    runs = sweep({0.1: [(2.0, 0.2)], 0.2: [(9.9, 0.6)], 0.3: [(10.0, 0.7)], 0.4: [(9.8, 0.9)]})
    assert pick(runs, **FOUND).picks == {0: "lr0.3"}
    report = pick(runs, **FOUND, plateau=0.05)
    assert report.picks == {0: "lr0.4"} and report.cost == {0: 0.0}


def test_a_plateau_needs_one_number_that_is_swept(sweep):
    runs = sweep({0.1: [(2.0, 0.2)], 0.2: [(9.9, 0.6)]}, batch={0.1: 32, 0.2: 64})
    with pytest.raises(ConfigError, match=r"plateau=0.05 needs a sweep of a single number, these runs differ in batch, optim.lr"):
        pick(runs, **FOUND, plateau=0.05)


@pytest.mark.parametrize(
    "a, b, rank", [([1, 2, 3], [10, 20, 90], 1.0), ([1, 2, 3], [3, 2, 1], -1.0), ([1, 1, 2], [1, 2, 3], 3**0.5 / 2)]
)
def test_rank_correlation(a, b, rank):
    assert rank_correlation(np.array(a), np.array(b)) == pytest.approx(rank)


def test_a_constant_has_no_rank_correlation():
    assert math.isnan(rank_correlation(np.ones(3), np.arange(3)))


def test_what_cannot_be_picked_from(sweep):
    runs = sweep({0.1: [(2.0, 0.2)], 0.2: [(9.9, 0.6)]})
    with pytest.raises(ConfigError, match="runs of two settings or more, these are all lr0.1"):
        pick(runs[:1], **FOUND)
    with pytest.raises(ConfigError, match="lr0.1 has no figure 'rank/rank'; it has few/top1, rank/rankme"):
        pick(runs, by="rank/rank", oracle="few/top1")


def test_seeds_must_be_shared(sweep):
    runs = sweep({0.1: [(2.0, 0.2), (2.0, 0.3)], 0.2: [(9.9, 0.6), (3.0, 0.2)]})
    with pytest.raises(ConfigError, match="no seed was run with every setting"):
        pick([runs[0], runs[3]], **FOUND)

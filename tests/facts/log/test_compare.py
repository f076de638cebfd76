"""Runs side by side, from files written by hand."""

import csv
import json

import pytest

from jaxemb.config import ConfigError
from jaxemb.log.compare import columns, rows, spread, transposed, write_csv
from jaxemb.log.plot import PlotError
from jaxemb.run.files import RunError

ENVIRONMENT = {
    "commit": "0123456789abcdef",
    "dirty": False,
    "machine": "x86_64, 2 CPU cores",
    "devices": ["cpu cpu", "cpu cpu"],
    "versions": {"jax": "0.10.2"},
    "command": "jaxemb train",
}


@pytest.fixture
def fake(tmp_path):
    """fake("a", {step: {figure: value}}, seed=1): a run folder with these figures; other keywords are fields of its config."""

    def make(folder, figures, environment=None, **config):
        run = tmp_path / folder
        run.mkdir()
        (run / "config.json").write_text(json.dumps({"@": "x:X", "name": "exp", "seed": 0, "optim": {"lr": 0.1}} | config))
        (run / "env.json").write_text(json.dumps(ENVIRONMENT | (environment or {})))
        (run / "metrics.jsonl").write_text("".join(json.dumps({"step": s, **row}) + "\n" for s, row in figures.items()))
        return run

    return make


@pytest.fixture
def seeds(fake):
    """Three seeds of one experiment; the third has not come as far."""
    figures = [
        {0: {"knn/top1": 0.1}, 4: {"loss": 9.0}, 5: {"knn/top1": 1.0, "loss": 4.0}, 10: {"knn/top1": 1.0}},
        {0: {"knn/top1": 0.2}, 4: {"loss": 9.0}, 5: {"knn/top1": 2.0, "loss": 5.0}, 10: {"knn/top1": 9.0}},
        {0: {"knn/top1": 0.3}, 4: {"loss": 9.0}, 5: {"knn/top1": 3.0}},
    ]
    return [fake(f"seed{s}", rows, seed=s) for s, rows in enumerate(figures)]


@pytest.mark.parametrize(
    "values, text",
    [([1.0, 2.0, 3.0], "2 ± 1"), ([0.41234], "0.4123"), ([0.5, 0.5], "0.5 ± 0"), ([0.41, 0.43], "0.42 ± 0.014"), ([], "")],
)
def test_seeds_are_a_mean_and_the_deviation_between_them(values, text):
    assert spread(values) == text


def test_a_group_is_compared_before_training_and_at_the_last_step_that_all_of_it_have(seeds):
    untrained, trained = columns(seeds)
    assert (untrained.title, trained.title) == ("exp, untrained", "exp, step 5")
    assert untrained.runs == trained.runs == seeds
    assert untrained.figures == {"knn/top1": [0.1, 0.2, 0.3]}
    assert trained.figures == {"knn/top1": [1.0, 2.0, 3.0]}  # the loss is not there for all


def test_every_step_is_every_step_of_an_evaluation(seeds):
    assert [c.step for c in columns(seeds[:2], every_step=True)] == [0, 5, 10]


def test_a_run_that_was_judged_once_is_one_column(fake):
    (column,) = columns([fake("a", {7: {"knn/top1": 0.5}})])
    assert column.title == "exp, step 7"


def test_a_row_a_figure_of_the_evaluations_and_a_cell_a_column(seeds, fake):
    other = fake("other", {5: {"probe/top1": 0.9, "loss": 3.0}}, name="other")
    found = columns([*seeds, other])
    assert rows(found) == [["knn/top1", "0.2 ± 0.1", "2 ± 1", ""], ["probe/top1", "", "", "0.9"]]


def test_figures_that_are_asked_for(seeds, fake):
    found = columns([fake("other", {5: {"probe/top1": 0.9, "loss": 3.0}}, name="other")])
    assert rows(found, ["loss", "probe/top1"]) == [["loss", "3"], ["probe/top1", "0.9"]]
    with pytest.raises(PlotError, match=r"no run has the figure 'prob/top1'; did you mean 'probe/top1'\? valid: loss, probe/top1"):
        rows(found, ["prob/top1"])


def test_runs_without_evaluations_are_refused_by_name(fake, seeds):
    with pytest.raises(ConfigError, match="bare has no figures of evaluations that could be compared"):
        columns([*seeds, fake("bare", {1: {"loss": 1.0}}, seed=3)])
    with pytest.raises(ConfigError, match="empty has no figures of evaluations"):
        columns([fake("empty", {}, name="empty")])


def test_seeds_without_a_step_in_common_are_refused(fake):
    a, b = fake("a", {5: {"knn/top1": 0.5}}), fake("b", {7: {"knn/top1": 0.5}}, seed=1)
    with pytest.raises(ConfigError, match="no step was evaluated in all of .*a, .*b"):
        columns([a, b])


def read(file):
    with open(file, newline="") as f:
        return list(csv.DictReader(f))


def test_a_table_in_a_file_says_where_its_figures_come_from(seeds, tmp_path):
    file = write_csv(tmp_path / "deep" / "out.csv", columns(seeds, every_step=True))
    found = read(file)
    assert [(row["experiment"], row["step"], row["figure"]) for row in found] == [
        ("exp", "0", "knn/top1"),
        ("exp", "5", "knn/top1"),
    ]
    last = found[-1]
    assert (last["mean"], last["std"], last["values"], last["seeds"]) == ("2", "1", "1 2 3", "0 1 2")
    assert (last["commit"], last["devices"], last["jax"]) == ("012345678", "2 x cpu cpu", "0.10.2")
    assert (last["machine"], last["command"]) == ("x86_64, 2 CPU cores", "jaxemb train")


def test_a_single_run_has_no_deviation(fake, tmp_path):
    (row,) = read(write_csv(tmp_path / "out.csv", columns([fake("a", {3: {"knn/top1": 0.25}})])))
    assert (row["mean"], row["std"], row["values"]) == ("0.25", "", "0.25")


def test_changes_since_the_commit_and_different_machines_are_visible(fake, tmp_path):
    a = fake("a", {1: {"knn/top1": 0.5}})
    b = fake("b", {1: {"knn/top1": 0.5}}, {"dirty": True, "machine": "arm64, 8 CPU cores"}, seed=1)
    (row,) = read(write_csv(tmp_path / "out.csv", columns([a, b])))
    assert row["commit"] == "012345678 012345678+" and row["machine"] == "x86_64, 2 CPU cores | arm64, 8 CPU cores"


def test_the_hash_of_a_config_is_that_of_everything_but_the_seed(fake, tmp_path):
    figures = {1: {"knn/top1": 0.5}}
    runs = [fake("a", figures), fake("b", figures, seed=1), fake("c", figures, optim={"lr": 0.2})]
    hashes = [read(write_csv(tmp_path / "out.csv", columns([run])))[0]["config"] for run in runs]
    assert hashes[0] == hashes[1] != hashes[2] and len(hashes[0]) == 12


def test_files_that_cannot_be_written_or_read_are_named(fake, tmp_path):
    run = fake("a", {1: {"knn/top1": 0.5}})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="file/out.csv cannot be written: (Not a directory|File exists)"):
        write_csv(tmp_path / "file" / "out.csv", columns([run]))
    (run / "env.json").unlink()
    with pytest.raises(RunError, match="there is no .*a/env.json"):
        write_csv(tmp_path / "out.csv", columns([run]))
    assert not (tmp_path / "out.csv").exists()


def test_many_experiments_have_a_row_each(seeds, fake):
    other = fake("other", {0: {"knn/top1": 0.1}, 7: {"knn/top1": 0.5}}, name="other")
    header, lines = transposed(columns([*seeds, other]), ["knn/top1"])
    assert header == ["experiment", "knn/top1"]
    assert lines == [["exp", "2 ± 1"], ["other", "0.5"]]  # the last step of each

"""Run folders: their names, what stands in them, and whose they are."""

import json
import os
import subprocess
import sys

import pytest

from jaxemb.config import ConfigError, override, to_json
from jaxemb.data.digits import Digits
from jaxemb.experiment import Experiment
from jaxemb.objectives.classify import Classify
from jaxemb.objectives.lejepa import LeJEPA
from jaxemb.objectives.simclr import SimCLR
from jaxemb.preprocess.tokens import TokenIds
from jaxemb.run.environment import environment
from jaxemb.run.folder import Run, RunError, told_statistics
from jaxemb.views.crops import CropViews


@pytest.fixture
def experiment():
    return Experiment(name="test", objective=Classify(), data=Digits(), steps=10, batch=8)


def trained(run):
    """As if a step had been logged."""
    (run.path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 1, "knn/top1": 0.5}\n{"step": 2, "loss": 0.9}\n')
    return run


@pytest.mark.parametrize(
    "text, path, step", [("runs/a", "runs/a", None), ("runs/a@500", "runs/a", 500), ("a@b", "a@b", None), ("a@b@3", "a@b", 3)]
)
def test_names(text, path, step):
    assert (str(Run(text).path), Run(text).step) == (path, step)


def test_a_folder_whose_name_ends_like_a_step(tmp_path):
    (tmp_path / "a@1").mkdir()
    assert Run(tmp_path / "a@1").path == tmp_path / "a@1"


def test_the_config_comes_back(experiment, tmp_path):
    run = Run(tmp_path / "deep" / "run")
    with run.claimed(experiment):
        assert run.experiment() == experiment and Run(run.path).config()["steps"] == 10


def test_metrics_and_the_figures_of_a_step(experiment, tmp_path):
    run = Run(tmp_path)
    assert run.metrics() == [] and trained(run).figures(1) == {"loss": 1.0, "knn/top1": 0.5} and run.figures(5) == {}


def test_what_is_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    (tmp_path / "runs" / "digits" / "config.json").write_text("{")
    with pytest.raises(RunError, match="runs/digit does not exist; runs here: runs/digits"):
        Run("runs/digit").config()
    with pytest.raises(RunError, match="has no config.json, so it is no run folder"):
        Run(tmp_path).config()
    with pytest.raises(RunError, match="config.json is damaged"):
        Run("runs/digits").experiment()


def test_another_config_is_refused_with_the_difference(experiment, tmp_path):
    run = Run(tmp_path)
    with run.claimed(experiment):
        trained(run)
    other = override(experiment, ["optim.lr=0.5", "steps=99", "data.size=16"])
    with pytest.raises(RunError) as caught, run.claimed(other):
        pass
    message = str(caught.value)
    assert "optim.lr: 0.001 there, 0.5 here" in message and "data.size: 8 there, 16 here" in message
    assert "steps:" not in message and run.experiment() == experiment


def test_what_may_change(experiment, tmp_path):
    run = Run(tmp_path)
    with run.claimed(experiment):
        trained(run)
    changed = override(experiment, ["steps=99", "save_every=7", "keep=1", "log_every=3", 'mesh={"data": 2}', "expect.a=1.0"])
    with run.claimed(changed):
        assert run.experiment() == changed


def test_a_folder_where_nothing_was_trained_yet_is_free(experiment, tmp_path):
    run = Run(tmp_path)
    with run.claimed(experiment):
        (tmp_path / "metrics.jsonl").write_text('{"step": 0, "knn/top1": 0.1}\n')  # the random initialisation
    with run.claimed(override(experiment, ["optim.lr=0.5"])):
        assert run.experiment().optim.lr == 0.5


def test_two_processes_cannot_train_in_one_folder(experiment, tmp_path):
    hold = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is training in"), Run(tmp_path).claimed(experiment):
            pass
        other.kill()
    with Run(tmp_path).claimed(experiment):  # the lock ends with its process
        pass


def test_a_folder_that_cannot_be_written(experiment, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written: Not a directory"), Run(tmp_path / "file" / "run").claimed(experiment):
        pass


def test_what_could_not_be_read_back_is_refused_before_the_folder_is_made(experiment, tmp_path):
    class Mine(Classify):
        pass

    broken = Experiment(**{**vars(experiment), "objective": Mine()})
    with pytest.raises(ConfigError, match="config.objective"), Run(tmp_path / "run").claimed(broken):
        pass
    assert not (tmp_path / "run").exists()


def test_the_environment_of_each_start(experiment, tmp_path, monkeypatch):
    run = Run(tmp_path)
    for command in ("first", "second", "third"):
        monkeypatch.setattr(sys, "argv", ["jaxemb", command])
        with run.claimed(experiment):
            pass
    found = json.loads((tmp_path / "env.json").read_text())
    assert [e["command"] for e in (found, *found["earlier"])] == ["jaxemb third", "jaxemb first", "jaxemb second"]
    assert {"jax", "flax", "orbax-checkpoint", "python"} <= set(found["versions"])
    assert len(found["devices"]) == 8 and found["processes"] == 1 and found["packages"] == []


def test_the_packages_that_a_config_needs_are_recorded(experiment, tmp_path, monkeypatch):
    """They are asked for by name where the run is read."""
    monkeypatch.setattr("jaxemb.run.folder.to_json", lambda x: to_json(x) | {"extra": {"@": "mine.parts:Part"}})
    monkeypatch.setattr("jaxemb.run.folder.from_json", lambda doc: experiment)
    with Run(tmp_path).claimed(experiment):
        pass
    assert json.loads((tmp_path / "env.json").read_text())["packages"] == ["mine"]


def git(folder, *command):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=folder, check=True, capture_output=True)


def test_the_commit_and_whether_it_was_changed_since(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxemb.run.environment.__file__", str(tmp_path / "run.py"))
    monkeypatch.setattr("jaxemb.packages.projects", tuple)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert environment()["commit"] is None and environment()["dirty"] is None
    (tmp_path / "file").write_text("a")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "x")
    clean = environment()
    (tmp_path / "file").write_text("b")
    assert len(clean["commit"]) == 40 and clean["dirty"] is False and environment()["dirty"] is True


@pytest.mark.parametrize("where", ["current folder", "own tree"])
def test_git_runs_no_command_of_a_stranger(tmp_path, monkeypatch, where):
    """`core.fsmonitor` of a .git/config is executed by `git status`: that of the current folder is never asked for, and of
    our own trees the monitor stays off."""
    stranger, empty = tmp_path / "stranger", tmp_path / "empty"
    stranger.mkdir()
    empty.mkdir()
    (stranger / "file").write_text("a")
    git(stranger, "init", "-q")
    git(stranger, "add", "file")
    git(stranger, "commit", "-q", "-m", "x")
    canary = tmp_path / "canary"
    (tmp_path / "monitor").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (tmp_path / "monitor").chmod(0o755)
    git(stranger, "config", "core.fsmonitor", str(tmp_path / "monitor"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path))
    monkeypatch.setattr("jaxemb.packages.projects", tuple)
    monkeypatch.chdir(stranger)
    ours = empty if where == "current folder" else stranger
    monkeypatch.setattr("jaxemb.run.environment.__file__", str(ours / "environment.py"))
    found = environment()
    assert not canary.exists() and (found["commit"] is None) == (where == "current folder")
    subprocess.run(["git", "status"], check=True, capture_output=True)
    assert canary.exists()  # the trap works


def test_views_are_told_how_the_data_normalise_images():
    """Digits are not photographs: colours and brightness change pixels in [0, 1], whatever the normalisation."""
    data, own = Digits(), CropViews(mean=(0.25,), std=(0.5,))
    for given, mean in ((CropViews(), data.statistics[0]), (own, (0.25,))):
        told = told_statistics(SimCLR(views=given), data.preprocess)
        assert told.views.mean == mean and told.views.count == 2
    assert told_statistics(SimCLR(), TokenIds(length=2, vocabulary=3)) == SimCLR()
    assert told_statistics(LeJEPA(local=CropViews(count=1)), data.preprocess).local.std == data.statistics[1]

"""What is read in a run folder is a file of a bounded size that holds what it should; whatever else stands there is refused."""

import json
import os

import pytest

from jaxemb import files
from jaxemb.data.digits import Digits
from jaxemb.experiment import Experiment
from jaxemb.log.compare import columns, write_csv
from jaxemb.log.progress import Progress
from jaxemb.log.writer import Writer
from jaxemb.objectives.classify import Classify
from jaxemb.run.checkpoint import CheckpointError, Checkpoints
from jaxemb.run.environment import read_environment
from jaxemb.run.files import Growing, RunError, read_json, write_json
from jaxemb.run.folder import Run
from jaxemb.run.manifest import fault, seal
from jaxemb.run.metrics import read_rows
from jaxemb.train.report import Report
from jaxemb.train.spent import Spent
from jaxemb.train.trace import Trace

ENVIRONMENT = {"commit": "0" * 40, "dirty": False, "versions": {"jax": "0"}, "devices": ["cpu x"], "machine": "m", "command": "c"}


@pytest.fixture
def experiment():
    return Experiment(name="test", objective=Classify(), data=Digits(), steps=10, batch=8)


# ---- damage ----------------------------------------------------------------------------------------------------------------------

DAMAGE = {
    "null": b"null",
    "a list": b"[]",
    "a number": b"5",
    "nothing": b"",
    "half": b'{"a": ',
    "binary": bytes(range(128, 256)),
    "deep": b"[" * 100_000,
    "long integer": b'{"a": ' + b"1" * 5000 + b"}",
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "env.json"])
def test_a_damaged_file_is_named(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RunError, match=f"{name} (is damaged|cannot be read)"):
        Run(tmp_path).experiment() if name == "config.json" else read_environment(tmp_path)


@pytest.mark.parametrize("doc", [{}, {"@": []}, {"@": "jaxemb.nn.mlp:MLP"}, {"name": "x"}])
def test_a_config_that_is_no_experiment(tmp_path, doc):
    (tmp_path / "config.json").write_text(json.dumps(doc))
    with pytest.raises(RunError, match="config.json is damaged: it holds no experiment"):
        Run(tmp_path).experiment()


@pytest.mark.parametrize("field, value", [("devices", []), ("devices", 5), ("versions", []), ("commit", 5), ("earlier", {"a": 1})])
def test_an_environment_of_other_kinds(tmp_path, field, value):
    (tmp_path / "env.json").write_text(json.dumps(ENVIRONMENT | {field: value}))
    with pytest.raises(RunError, match=f"env.json is damaged: {field}"):
        read_environment(tmp_path)


def test_a_damaged_environment_stops_a_training_before_its_history_is_lost(experiment, tmp_path):
    (tmp_path / "env.json").write_text("null")
    with pytest.raises(RunError, match="env.json is damaged"), Run(tmp_path).claimed(experiment):
        pass
    assert (tmp_path / "env.json").read_text() == "null"


@pytest.mark.parametrize("name", ["config.json", "env.json", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large"])
def test_what_is_no_file_of_a_sensible_size_is_refused_at_once(tmp_path, monkeypatch, name, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    elif kind == "device":
        (tmp_path / name).symlink_to("/dev/zero")
    elif kind == "folder":
        (tmp_path / name).mkdir()
    else:
        with open(tmp_path / name, "wb") as f:
            f.truncate(2**30)  # a hole: no disk is used
    if name == "metrics.jsonl":
        if kind == "large":
            monkeypatch.setattr("jaxemb.run.metrics.LARGEST", 2**20)
            with pytest.raises(files.FileError, match="larger than 1 MiB"):
                read_rows(tmp_path)
        else:
            assert read_rows(tmp_path) == []  # as if there was none
        return
    read = Run(tmp_path).config if name == "config.json" else lambda: read_environment(tmp_path)
    with pytest.raises(RunError, match="not a regular file|larger than 64 MiB|has no config.json"):
        read()


@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize("name", [".lock", "config.json.tmp", "env.json.tmp"])
def test_nothing_is_written_through_what_stands_in_the_way(experiment, tmp_path, name, kind):
    run, precious = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    precious.write_text("precious")
    os.mkfifo(run / name) if kind == "pipe" else (run / name).symlink_to(precious)
    with pytest.raises(RunError, match="cannot be written"), Run(run).claimed(experiment):
        pass
    assert precious.read_text() == "precious"


def test_lines_are_not_appended_to_a_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "log.txt").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        Growing(tmp_path / "log.txt").add("more")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b"])
def test_names_that_cannot_be_are_not_trained_in(text, experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="cannot be written"), Run(text).claimed(experiment):
        pass


# ---- buckets ---------------------------------------------------------------------------------------------------------------------


def test_a_run_in_a_bucket(cloud, experiment, tmp_path):
    run = Run("gs://bucket/runs/a@7")
    assert (str(run.path), run.step) == ("gs://bucket/runs/a", 7)
    with pytest.raises(RunError, match="gs://bucket/runs/a does not exist"):
        run.config()
    for _ in range(2):
        with run.claimed(experiment):
            pass
    assert run.experiment() == experiment and len(read_json(run.path / "env.json")["earlier"]) == 1
    writer = Writer(run.path)
    for step in (1, 2, 3):
        writer.write(step, {"knn/top1": step / 10})
    writer.resume(2)
    writer.text("a line")
    writer.close()
    assert [row["step"] for row in run.metrics()] == [1, 2] and run.figures(2)["knn/top1"] == 0.2
    assert {p.name for p in cloud.path_of(run.path).iterdir()} == {
        "assets",
        "config.json",
        "env.json",
        "log.txt",
        "metrics.jsonl",
    }
    assert run.restored(experiment) == experiment
    write_csv(tmp_path / "out.csv", columns([str(run.path)]))
    with pytest.raises(files.FileError, match="larger than 0 MiB"):
        files.read_text(run.path / "config.json", 10)


def test_a_trace_goes_into_a_bucket(cloud):
    spent = Spent()
    report = Report(None, Writer(None), Progress(9, 1, shown=False), spent)
    trace = Trace((0, 1), Run("gs://bucket/b").path / "profile", spent, report)
    trace.begin(0)
    with trace.step(1):
        pass
    trace.close()
    here = cloud.path_of("gs://bucket/b/profile")
    assert (here / "steps_0_1_process_0.json.gz").exists()
    assert (here / "plugins/profile/steps_0_1/process_0.xplane.pb").exists()


def test_checkpoints_in_a_bucket_are_listed_sealed_and_set_aside(cloud, capsys):
    """All but the arrays themselves, which Orbax writes there."""
    folder = Run("gs://bucket/a").checkpoints().folder
    assert str(folder) == "gs://bucket/a/checkpoints" and Checkpoints(folder).newest() is None
    for step in (1, 2):
        (folder / str(step) / "params" / "x").write_bytes(b"abc")
        seal(folder, step)
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == checkpoints.sealed() == [1, 2] and checkpoints.newest() == 2 and checkpoints.has(2, "params")
    (folder / "2" / "params" / "x").write_bytes(b"abd")
    assert fault(folder, 2) == "the bytes of params/x have changed"
    with pytest.raises(CheckpointError, match="the bytes of params/x have changed"):
        Checkpoints(folder).pick(2)
    assert Checkpoints(folder).newest(set_aside=True) == 1
    assert {p.name for p in folder.iterdir()} == {"1", "1.manifest.json", "2.rejected"}


def test_a_record_is_written_in_one_piece(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json") == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["a.json"]

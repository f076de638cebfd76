"""metrics.jsonl, log.txt, TensorBoard and W&B."""

import json
import struct
import sys
import time
import types

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.log.writer import Writer
from jaxemb.run.metrics import read_rows


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A list with the time in it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_call_at_once_on_disk(tmp_path, clock):
    writer = Writer(tmp_path)
    writer.write(3, {"loss": np.float32(0.5), "lr": 1})
    clock[0] += 2.5
    writer.write(3, {"knn/top1": 0.25})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 3, "loss": 0.5, "lr": 1.0, "seconds": 0.0},
        {"step": 3, "knn/top1": 0.25, "seconds": 2.5},
    ]


def test_the_clock_of_a_resumed_run_goes_on(tmp_path, clock):
    first = Writer(tmp_path)
    for step in (1, 2):
        clock[0] += 10
        first.write(step, {"loss": 1.0})
    clock[0] += 1000  # nobody trains
    second = Writer(tmp_path)
    second.resume(1)
    clock[0] += 5
    second.write(2, {"loss": 1.0})
    assert [row["seconds"] for row in read_rows(tmp_path)] == [10.0, 15.0]


def test_what_is_not_finite_becomes_null(tmp_path):
    Writer(tmp_path).write(1, {"a": float("nan"), "b": float("inf")})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": null, "b": null, "seconds": 0.0}\n'


@pytest.mark.parametrize("step, left", [(2, [1, 2]), (0, []), (None, [])])
def test_resume_drops_what_lies_beyond(tmp_path, step, left):
    writer = Writer(tmp_path)
    for s in (1, 2, 3):
        writer.write(s, {"loss": 1.0})
    writer.resume(step)
    assert [row["step"] for row in read_rows(tmp_path)] == left


def test_a_half_written_last_line_is_left_out(tmp_path):
    writer = Writer(tmp_path)
    writer.write(1, {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as f:
        f.write('{"step": 2, "lo')
    assert read_rows(tmp_path) == [{"step": 1, "loss": 1.0, "seconds": 0.0}]
    writer.resume(1)
    writer.write(2, {"loss": 0.5})
    assert [row["step"] for row in read_rows(tmp_path)] == [1, 2]


def test_no_file_is_no_metrics(tmp_path):
    assert read_rows(tmp_path) == []


def test_text_has_the_time(tmp_path):
    Writer(tmp_path).text("going on from step 3")
    assert (tmp_path / "log.txt").read_text()[4] == "-" and "  going on from step 3\n" in (tmp_path / "log.txt").read_text()


def test_processes_other_than_the_first_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = Writer(None, tensorboard=True, wandb=True)
    writer.resume(1)
    writer.write(1, {"loss": 1.0})
    writer.text("x")
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_same_scalars(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    writer = Writer(tmp_path, tensorboard=True)
    writer.write(7, {"loss": 0.5})
    writer.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, found = file.read_bytes(), []
    while data:  # TFRecord: length (8 bytes), checksum (4), event, checksum (4)
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + length :]
    assert found == [(7, "loss", 0.5)]


def test_wandb_goes_on_under_the_name_of_the_folder(tmp_path, monkeypatch):
    calls = []
    run = types.SimpleNamespace(log=lambda v, step: calls.append((v, step)), finish=lambda: calls.append("finished"))
    stand_in = types.ModuleType("wandb")
    stand_in.init = lambda **arguments: calls.append(arguments) or run
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    writer = Writer(tmp_path / "digits-seed1", wandb=True, name="digits", config={"seed": 1})
    (tmp_path / "digits-seed1").mkdir()
    writer.write(2, {"loss": 1.0})
    writer.close()
    assert calls[0]["id"] == "digits-seed1" and calls[0]["resume"] == "allow" and calls[0]["config"] == {"seed": 1}
    assert calls[1:] == [({"loss": 1.0, "seconds": 0.0}, 2), "finished"]


@pytest.mark.parametrize("name, module", [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"needs the package {module}: pip install"):
        Writer(tmp_path, **{name: True})

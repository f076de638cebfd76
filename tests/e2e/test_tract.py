"""TrAct over devices and processes: the second moment is that of the global batch."""

import dataclasses
import os
import re
import socket

import pytest

from jaxemb.config import ConfigError, override
from jaxemb.nn.mlp import MLP
from jaxemb.objectives.classify import Classify
from jaxemb.train.loop import train
from jaxemb.train.optim import Optim
from jaxemb.train.probes import Realised

SHORT = ("steps=4", "save_every=4", "batch=128", "evals={}")


@pytest.fixture
def experiment(tiny):
    """128 rows of 64 pixels. The head begins with zeros, so that the first layer moves from the second step on."""
    model = Classify(encoder=MLP((16,)))
    optim = Optim("sgd", lr=0.5, schedule="constant", tract=(("encoder/stem", 0.1),))
    return type(tiny())(**{**vars(tiny(*SHORT)), "objective": model, "optim": optim, "ema": None})


@pytest.fixture
def losses(read_rows):
    return lambda run: [row["loss"] for row in read_rows(run) if "loss" in row]


def test_eight_devices_equal_one(experiment, tmp_path, losses, read_state, assert_same):
    train(experiment, tmp_path / "one")
    cut = ('mesh={"data": 2, "fsdp": 2, "model": 2}', 'sharding=[["stem/kernel", "fsdp,model"], [".*", "fsdp"]]')
    train(override(experiment, cut), tmp_path / "eight")
    assert losses(tmp_path / "eight") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, eight = (read_state(experiment, tmp_path / name).params for name in ("one", "eight"))
    assert_same(eight, one, atol=1e-5, rtol=1e-4)


def test_micro_batches_over_devices_equal_one_batch(experiment, tmp_path, losses, read_state, assert_same):
    train(experiment, tmp_path / "one")
    train(override(experiment, ['mesh={"data": 2, "fsdp": 2}', "sharding=fsdp", "accumulate=4"]), tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    parts, one = (read_state(experiment, tmp_path / name).params for name in ("parts", "one"))
    assert_same(parts, one, atol=1e-5, rtol=1e-4)


def test_the_cosine_of_the_first_layer_is_logged(experiment, tmp_path, read_rows):
    looked = dataclasses.replace(experiment, probes={"first_layer": Realised(layer="encoder/stem", every=2)}, log_every=1)
    train(looked, tmp_path / "tract")
    train(override(looked, ["optim.tract=[]", "accumulate=2"]), tmp_path / "plain")
    rows = [[r for r in read_rows(tmp_path / n) if "first_layer_cosine" in r] for n in ("tract", "plain")]
    ours, plain = ({r["step"]: r["first_layer_cosine"] for r in of_one} for of_one in rows)
    assert [*ours] == [*plain] == [2, 4]
    assert 1 > ours[2] > plain[2] > 0, "TrAct realises more of the step than the plain gradient"


def test_a_layer_that_is_not_there_is_named_before_training(experiment, tmp_path, read_rows):
    with pytest.raises(ConfigError, match=r"probes: layer='stem' has no kernel; there are encoder/stem, head"):
        train(dataclasses.replace(experiment, probes={"first_layer": Realised(layer="stem")}), tmp_path / "run")
    assert not read_rows(tmp_path / "run")


def test_two_processes_equal_two_devices(experiment, launch, tmp_path, losses, read_state, assert_same):
    experiment = override(experiment, ['mesh={"data": 2}'])
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    one_device = re.sub(r"\S*device_count=\d+", "", os.environ["XLA_FLAGS"])
    processes = [launch(experiment, tmp_path / "two", "both", port, index, 2, 10, XLA_FLAGS=one_device) for index in (0, 1)]
    said = [p.communicate(timeout=100)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], said
    train(experiment, tmp_path / "one")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    two, one = (read_state(experiment, tmp_path / name).params for name in ("two", "one"))
    assert_same(two, one, atol=1e-5, rtol=1e-4)

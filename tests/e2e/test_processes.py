"""When a process is told to stop, is lost or fails, the others leave with it. (Several train as one: test_check_processes.py.)"""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from jaxemb.config import override
from jaxemb.objectives.classify import Classify
from jaxemb.train.leaving import LOST

ONE_DEVICE = {"XLA_FLAGS": re.sub(r"\S*device_count=\d+", "", os.environ["XLA_FLAGS"])}


@pytest.fixture
def experiment(tiny):
    plain = tiny("steps=6", "save_every=3", 'mesh={"data": 2}', "evals.knn.every=3")
    encoder = override(plain.objective.encoder, ["blocks.0.attention.dropout=0.0", "blocks.0.mlp.dropout=0.0"])
    return type(plain)(**{**vars(plain), "objective": Classify(encoder=encoder)})


@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def pair(launch, port):
    """pair(experiment, run, mode, heartbeat): two processes of one job."""

    def start(experiment, run, mode="both", heartbeat=10):
        return [launch(experiment, run, mode, port, index, 2, heartbeat, **ONE_DEVICE) for index in (0, 1)]

    return start


def test_signals_to_any_stop_both_after_the_same_step(experiment, pair, tmp_path, until, read_state):
    long = override(experiment, ["steps=500", "save_every=500", "evals={}"])
    processes = pair(long, tmp_path / "two", "slow")
    until(processes[0], "step   7/500")
    processes[0].send_signal(signal.SIGINT)  # Ctrl-C, and then whoever loses patience
    processes[1].send_signal(signal.SIGTERM)
    processes[1].send_signal(signal.SIGTERM)
    said = [p.communicate(timeout=200)[0] for p in processes]
    assert [p.returncode for p in processes] == [143, 143], said
    assert "step   1/500" not in said[1]  # the first one speaks for both
    stopped = int(said[0].split("stopped at step ")[1].split(",")[0])
    assert read_state(long, tmp_path / "two").step == stopped


@pytest.mark.slow  # the next but one meets the same error, of a process that failed
def test_a_killed_process_ends_the_other_at_once(experiment, pair, tmp_path, until):
    long = override(experiment, ["steps=500", "evals={}"])
    processes = pair(long, tmp_path / "two", "slow", heartbeat=60)
    until(processes[0], "step   7/500")
    processes[1].kill()
    said, _ = processes[0].communicate(timeout=30)  # not by the heartbeat
    assert processes[0].returncode == LOST and "lost contact to another process" in said, said
    assert "goes on from the last checkpoint" in (tmp_path / "two" / "log.txt").read_text()


@pytest.mark.parametrize("victim, how, heartbeat", [(0, signal.SIGKILL, 60), (1, signal.SIGSTOP, 4)])
def test_one_that_vanishes_ends_the_other_with_a_message(experiment, pair, tmp_path, until, victim, how, heartbeat):
    """Process 0 holds the runtime together, which aborts the others; one that stands still is missed by its heartbeat alone."""
    processes = pair(experiment, tmp_path / "idle", "idle", heartbeat=heartbeat)
    for p in processes:
        until(p, "JOINED")
    processes[victim].send_signal(how)
    said, _ = processes[1 - victim].communicate(timeout=30)
    assert processes[1 - victim].returncode == LOST, said
    message = f"process {1 - victim} of 2 leaves, since the runtime ended it: another process was lost"
    assert message in said, said


def test_one_that_fails_ends_the_other(experiment, pair, tmp_path):
    processes = pair(experiment, tmp_path / "two", "bare")
    said = [p.communicate(timeout=200)[0] for p in processes]
    assert [p.returncode for p in processes] == [LOST, 1], said
    assert "knn/top1" in said[0] and "lost contact to another process" in said[0] and "ZeroDivisionError" in said[1]


def test_a_folder_that_is_not_shared_is_refused_by_all(experiment, pair, tmp_path):
    processes = pair(experiment, tmp_path / "two", "blind")
    said = [p.communicate(timeout=200)[0] for p in processes]
    assert [p.returncode for p in processes] == [1, 1], said
    for text in said:
        assert re.search(
            "RunError: process 1 of 2 cannot see .*env.json, as process 0 has written it.*a file system that all share", text
        )


def test_a_job_that_is_not_complete_says_so(port):
    code = f"from jaxemb.train.cluster import join; join('127.0.0.1:{port},2,0', timeout=1)"
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert p.returncode == LOST and p.stdout == f"process 0 of 2, as told, coordinator 127.0.0.1:{port}\n", p.stderr
    assert f"process 0 of 2: not all have joined at 127.0.0.1:{port} within 1 s. Does each run" in p.stderr

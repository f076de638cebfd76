"""A run that was cut off goes on as if it never had been."""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxemb.train.loop import train


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory, read_state, read_rows):
    run = tmp_path_factory.mktemp("runs") / "whole"
    experiment = tiny()
    figures = train(experiment, run)
    return SimpleNamespace(run=run, experiment=experiment, figures=figures, state=read_state(experiment, run), rows=read_rows(run))


@pytest.fixture
def copy(uninterrupted, tmp_path):
    """The finished run, to be damaged or continued."""
    return Path(shutil.copytree(uninterrupted.run, tmp_path / "copy"))


def assert_equals(run, whole, read_state, read_rows, assert_same):
    """The same state bit for bit, and every line of metrics once."""
    assert_same(read_state(whole.experiment, run), whole.state)
    assert read_rows(run) == whole.rows


@pytest.mark.parametrize("moment", ["commit", "seal"])
def test_killed_in_the_middle_of_a_save(uninterrupted, tmp_path, launch, until, read_state, read_rows, assert_same, moment, capsys):
    run = tmp_path / "cut"
    process = launch(uninterrupted.experiment, run, moment)
    until(process, f"HANGING in {moment}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {p.name for p in (run / "checkpoints").iterdir()}
    assert "15.manifest.json" not in left and ("15" in left) == (moment == "seal")

    train(uninterrupted.experiment, run)
    said = capsys.readouterr().out
    assert "going on from step 10" in said
    assert ("checkpoint 15 is passed over: it has no manifest" in said) == (moment == "seal")
    assert_equals(run, uninterrupted, read_state, read_rows, assert_same)
    assert not [p for p in (run / "checkpoints").iterdir() if "tmp" in p.name]


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_goes_on(
    uninterrupted, tmp_path, launch, until, read_state, read_rows, assert_same, number, status, capsys
):
    run = tmp_path / "cut"
    process = launch(uninterrupted.experiment, run, "slow")
    until(process, "step  7/20")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert f"{number.name}: stopped at step " in said and "is saved; the same command goes on" in said
    stopped = int(said.split("stopped at step ")[1].split(",")[0])
    assert 7 <= stopped < 20

    train(uninterrupted.experiment, run)
    assert f"going on from step {stopped}" in capsys.readouterr().out
    assert_equals(run, uninterrupted, read_state, read_rows, assert_same)


def test_a_flipped_bit_falls_back_and_says_so(uninterrupted, copy, read_state, read_rows, assert_same, capsys):
    array = max((f for f in (copy / "checkpoints" / "20" / "params").rglob("d/*")), key=lambda f: f.stat().st_size)
    damaged = bytearray(array.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    array.write_bytes(damaged)
    train(uninterrupted.experiment, copy)
    said = capsys.readouterr().out
    assert "checkpoint 20 is passed over: the bytes of params/" in said and "going on from step 15" in said
    assert_equals(copy, uninterrupted, read_state, read_rows, assert_same)


def test_nothing_left_to_do_and_longer(uninterrupted, tiny, copy, read_rows, capsys):
    assert train(uninterrupted.experiment, copy) == uninterrupted.figures
    assert "nothing is left to do" in capsys.readouterr().out
    figures = train(tiny("steps=22"), copy)
    said = capsys.readouterr().out
    assert "going on from step 20" in said and "step 22/22" in said and "knn/top1" in figures
    assert [row["step"] for row in read_rows(copy)][-3:] == [21, 22, 22]


def test_another_seed_is_another_run(uninterrupted, tiny, tmp_path, read_rows):
    train(tiny("seed=1", "evals={}"), tmp_path / "other")
    assert read_rows(tmp_path / "other")[1]["loss"] != uninterrupted.rows[1]["loss"]

"""A run that was cut off goes on as if it never had been."""

import json
import signal

import pytest

from jaxemb.config import to_json
from jaxemb.train.loop import train


@pytest.fixture
def uninterrupted(tiny, tmp_path, read_state, read_rows):
    experiment = tiny()
    figures = train(experiment, tmp_path / "whole")
    return experiment, figures, read_state(experiment, tmp_path / "whole"), read_rows(tmp_path / "whole")


def until(process, text):
    """Reads what a process says up to a line that holds `text`."""
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"the process ended without {text!r}:\n{said}")


@pytest.mark.parametrize("moment", ["commit", "seal"])
def test_killed_in_the_middle_of_a_save(uninterrupted, tmp_path, launch, read_state, read_rows, assert_same, moment, capsys):
    experiment, figures, state, rows = uninterrupted
    run = tmp_path / "cut"
    (tmp_path / "cut.wanted.json").write_text(json.dumps(to_json(experiment)))
    process = launch(run, moment)
    until(process, f"HANGING in {moment}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = {p.name for p in (run / "checkpoints").iterdir()}
    assert "15.manifest.json" not in left and ("15" in left) == (moment == "seal")

    again = train(experiment, run)
    said = capsys.readouterr().out
    assert "going on from step 10" in said
    assert ("checkpoint 15 is passed over: it has no manifest" in said) == (moment == "seal")
    assert_same(read_state(experiment, run), state)
    assert read_rows(run) == rows
    assert {k: v for k, v in again.items() if "per_second" not in k} == {k: v for k, v in figures.items() if "per_second" not in k}
    assert not [p for p in (run / "checkpoints").iterdir() if "tmp" in p.name]


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_goes_on(
    uninterrupted, tmp_path, launch, read_state, read_rows, assert_same, number, status
):
    experiment, _, state, rows = uninterrupted
    run = tmp_path / "cut"
    (tmp_path / "cut.wanted.json").write_text(json.dumps(to_json(experiment)))
    process = launch(run, "slow")
    until(process, "step  7/20")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert f"{number.name}: stopped at step " in said and "the same command goes on" in said
    stopped = int(said.split("stopped at step ")[1].split(",")[0])
    assert 7 <= stopped < 20

    process = launch(run)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and f"going on from step {stopped}" in said, said
    assert_same(read_state(experiment, run), state)
    assert read_rows(run) == rows


def test_a_flipped_bit_falls_back_and_says_so(uninterrupted, tmp_path, read_state, assert_same, capsys):
    experiment, _, state, _ = uninterrupted
    run = tmp_path / "whole"
    newest = run / "checkpoints" / "20" / "params"
    array = max((f for f in newest.rglob("d/*") if f.is_file()), key=lambda f: f.stat().st_size)
    damaged = bytearray(array.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    array.write_bytes(damaged)
    train(experiment, run)
    said = capsys.readouterr().out
    assert "checkpoint 20 is passed over: the bytes of params/" in said and "going on from step 15" in said
    assert_same(read_state(experiment, run), state)


def test_longer_and_nothing_left_to_do(uninterrupted, tiny, tmp_path, capsys):
    experiment, figures, _, rows = uninterrupted
    assert train(experiment, tmp_path / "whole") == figures
    assert "nothing is left to do" in capsys.readouterr().out
    train(tiny("steps=22"), tmp_path / "whole")
    said = capsys.readouterr().out
    assert "going on from step 20" in said and "step 22/22" in said


def test_random_numbers_and_batches_differ_by_seed(tiny, tmp_path, read_rows):
    for seed in (0, 1):
        train(tiny("steps=2", f"seed={seed}", "evals={}"), tmp_path / str(seed))
    assert read_rows(tmp_path / "0")[0]["loss"] != read_rows(tmp_path / "1")[0]["loss"]

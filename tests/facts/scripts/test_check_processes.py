import csv

import numpy as np
import pytest


@pytest.fixture(scope="module")
def check(script):
    return script("check_processes")


def test_two_processes_see_and_learn_what_one_does(check, tmp_path, capsys):
    """Masks, flips and images row by row, losses, parameters and what is evaluated: real processes."""
    file = tmp_path / "processes.csv"
    given = ["--only", "equality", "--experiments", "jepa", "--processes", "2", "--devices", "2", "--csv", str(file)]
    assert check.main(given) == 0, capsys.readouterr().out
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(r["experiment"], r["processes"], r["devices"]) for r in rows] == [("jepa", "2", "1")] * 4
    assert (
        rows[-1]["figure"].startswith("k-NN")
        and float(rows[0]["value"]) == 0
        and all(r["command"] and r["machine"] and r["jax"] for r in rows)
    )


def test_rows_are_compared_at_their_places(check, tmp_path):
    whole = np.arange(check.STEPS * 6).reshape(-1, 6)
    for i in range(2):
        np.savez(tmp_path / f"run.rows{i}.npz", rows=whole[:, i::2], shard=(i, 2))
    np.testing.assert_array_equal(check.batches(tmp_path / "run"), whole)


def test_another_row_has_another_checksum(check):
    batch = {"images": np.arange(24, dtype=np.float32).reshape(4, 3, 2), "context": {"keep": np.zeros((4, 2), np.int32)}}
    before = check.digests(batch)
    batch["context"]["keep"][2, 1] = 1
    assert (check.digests(batch) != before).tolist() == [False, False, True, False] and len(set(before)) == 4


def test_what_is_too_far_off_is_an_error(check, monkeypatch, capsys):
    figure = check.Figure("equality", "jepa", "2", "1", "rows of batches that differ", 1.0, 0)
    monkeypatch.setattr(check, "equality", lambda *_: [figure])
    assert check.main(["--only", "equality"]) == 1
    assert "NOT AS IT SHOULD BE: equality of jepa on 2 processes: rows of batches that differ 1.0 > 0" in capsys.readouterr().out


def test_an_experiment_that_there_is_not_is_named(check, capsys):
    with pytest.raises(SystemExit):
        check.main(["--experiments", "jepaa"])
    assert "argument --experiments: 'jepaa' is not one of jepa, views, drawn, packed" in capsys.readouterr().err

"""The study of codes of a few bits, small."""

import csv

import numpy as np
import pytest

from experiments.retrieval import bebr
from experiments.retrieval.bebr import TRIAL, arms_of_docstrings, components, main, neighbours, sentences


def test_a_trial_gives_figures_of_both_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(bebr, "ARMS_OF_COMPATIBLE", {"old version": "old", "new, compatible": "compatible"})
    rows = main(["--trial", "--seeds", "1", "--parts", "compatible", "--out", str(tmp_path / "x.csv")])
    table = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert len(rows) == len(table) == 4 and {row["part"] for row in table} == {"compatible"}
    assert all(0 <= float(row["mean"]) <= 1 for row in table)
    assert table[0]["command"].startswith("python -m experiments.retrieval.bebr --trial")


def test_no_trial_is_written_over_the_published_table(capsys):
    for given in (["--trial"], ["--seeds", "1"], ["--steps", "5"], ["--parts", "sts"]):
        with pytest.raises(SystemExit):
            main(given)
        assert "name its file, --out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--parts", "no", "--out", "x.csv"])
    assert "valid: sts, docstrings, compatible" in capsys.readouterr().err


def test_sentences_are_drawn_with_neighbours_among_those_of_training():
    s = sentences(0, True)
    assert (s.near != np.arange(len(s.train))[:, None]).all() and s.near.max() < len(s.train)
    x = s.train @ s.train.T
    np.fill_diagonal(x, -2)
    np.testing.assert_array_equal(s.near[:, 0], x.argmax(1))
    batch = neighbours(s.train, s.near, 7, 2 * s.train)(np.random.default_rng(0))
    assert all(p in s.near[q] for q, p in zip(batch["query_id"], batch["positive_id"], strict=True))
    np.testing.assert_array_equal(batch["positive"]["old"], 2 * batch["positive"]["vectors"])
    assert components(s.train, 3).shape == (s.train.shape[1], 3) and len(arms_of_docstrings(TRIAL)) == 5

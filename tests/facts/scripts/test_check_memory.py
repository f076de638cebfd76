"""The script that counts bytes a device, on eight virtual ones."""

import csv
import runpy
import sys

import pytest
from home import ROOT

FILE = ROOT / "scripts" / "check_memory.py"


def test_it_counts_an_even_share_and_little_more(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    out = tmp_path / "rows.csv"
    command = ["experiments/jepa/shapes.py", "--devices", "2,8", "--csv", str(out)]
    monkeypatch.setattr(sys, "argv", [str(FILE), *command])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(FILE), run_name="__main__")
    assert not left.value.code
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(row["sharding"], row["devices"]) for row in rows] == [(p, n) for p in ("fsdp", "fsdp+tensor") for n in "28"]
    for row in rows:
        # Where only model cuts, what is as wide as the residual stream stays whole, much of a model this small.
        assert 0 <= float(row["excess"]) < (0.1 if row["sharding"] == "fsdp" else 0.15), row
        assert int(row["device_bytes"]) * int(row["devices"]) >= int(row["state_bytes"])

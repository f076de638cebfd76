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


@pytest.mark.parametrize(
    "given, said",
    [
        (["--devices", "8x"], "argument --devices: numbers of devices from 1 to 4096 are needed, as in 2,8, not '8x'"),
        (["--sharding", "fdsp"], "argument --sharding: 'fdsp' is not one of fsdp, fsdp+tensor"),
        (["--topology", "v9:2x2"], "error: --topology v9:2x2: there is no chip 'v9'"),
    ],
)
def test_what_cannot_be_is_named(given, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(FILE), "experiments/jepa/shapes.py", *given])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(FILE), run_name="__main__")
    assert left.value.code == 2 and said in capsys.readouterr().err


def table(name):
    return list(csv.DictReader((ROOT / "results" / name).read_text().splitlines()))


def test_stored_plans_of_slices_give_a_chip_an_even_share_of_what_fsdp_cuts():
    """But for widths that nothing divides, of which a warning speaks."""
    whole = {r["experiment"]: int(r["state_bytes"]) for r in table("sharding_memory.csv")}
    found = {}
    for row in table("scale.csv"):
        if row["program"] != "train step" or row["sharding"] != "fsdp":
            continue
        held = 1e9 * sum(float(row[f"gb_{part}"]) for part in ("parameters", "average", "optimiser"))
        cut = dict(part.split("=") for part in row["mesh"].split())
        found[row["experiment"], row["mesh"]] = held * int(cut["fsdp"]) / whole[row["experiment"]] - 1
    assert len(found) >= 15
    assert {place for place, excess in found.items() if not -1e-3 < excess < 0.1} == {
        ("scale_vit_b", "fsdp=256"),
        ("scale_vit_l", "fsdp=256"),
    }


def test_what_was_compiled_holds_an_even_share_but_where_chips_pad_narrow_arrays():
    """A chip stores tiles of 8 x 128 numbers: of a model as narrow as that of the shapes most is padding."""
    rows = [row for row in table("sharding_memory.csv") if row["argument_bytes"]]
    assert {row["topology"] for row in rows} >= {"cpu:1", "cpu:2", "cpu:4", "cpu:8", "v5e:2x2", "v5e:2x4"}
    uneven = {(row["topology"], int(row["state_bytes"]) < 1e7) for row in rows if float(row["argument_excess"]) > 0.1}
    assert uneven == {("v5e:2x2", True), ("v5e:2x4", True)}

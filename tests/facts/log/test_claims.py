"""The table of claims is true to the tables it names, and what is wrong with one is said."""

import csv
import re
from pathlib import Path

import pytest

from jaxemb.cli import main
from jaxemb.config import ConfigError
from jaxemb.discover import list_methods
from jaxemb.log.claims import STATES, Claim, markdown, matching, measure, measured, missing, read, results, update

ROOT = Path(__file__).parents[3]
FILE = results() / "claims.csv"
CLAIMS = read(FILE)
SYSTEMS = {m.name: str(m.paper) for m in list_methods() if m.paper}
OUTSIDE = {"AfLite", "AspectEmbeddings", "BI-RADS-BERT", "LIMIT", "NVEmbed", "SurfaceFusion", "TrAct", "VLM2Vec"}
"""Systems that are no member of a family."""


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.csv], ids=lambda c: f"{c.system}-{c.claim}"[:60])
def test_every_figure_is_that_of_its_table(claim):
    assert measure(claim, results()) == (claim.value, claim.seeds), "run `jaxemb claims --update`, read the verdict again"


def test_every_system_and_paper_is_known():
    for c in CLAIMS:
        names = set(c.system.split())
        assert names <= set(SYSTEMS) | OUTSIDE, f"{names - set(SYSTEMS)} is no method with a paper"
        assert names & OUTSIDE or c.paper in {SYSTEMS[n] for n in names}, f"{c.system} is not from {c.paper}"
        assert (ROOT / c.experiment.split(":")[0]).exists(), f"{c.experiment} is not there"
    assert missing(CLAIMS, SYSTEMS) == []


def test_the_page_is_that_of_the_table():
    assert (ROOT / "docs" / "claims.md").read_text() == markdown(CLAIMS, missing(CLAIMS, SYSTEMS)) + "\n", "run `make docs`"


# ---- on tables of our own --------------------------------------------------------------------------------------------------------


def claim(**changes):
    known = {"system": "A", "paper": "P", "claim": "better", "csv": "t.csv", "filter": "name='x y'", "figure": "mean"}
    return Claim(**{**dict.fromkeys(Claim._fields, ""), **known, "verdict": "holds", "sentence": "So.", **changes})


@pytest.fixture
def folder(tmp_path):
    rows = ["name,step,mean,values,seeds", "x y,1,0.5,0.4 0.6,0 1", "z,1,0.2,0.2,0", "z,2,0.3,0.3,0"]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def write(folder, *claims):
    with (folder / "claims.csv").open("w", newline="") as f:
        lines = csv.writer(f)
        lines.writerow(Claim._fields)
        lines.writerows(claims)
    return folder / "claims.csv"


def test_a_figure_and_a_difference(folder):
    assert measure(claim(), folder) == ("0.5", "2")
    assert measure(claim(against="name=z step=2"), folder) == ("0.2", "2")
    assert measured(claim(value="0.2", seeds="2", against="name=z")) == "+0.2 (2 seeds)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filter": "name=z"}, "A: 2 rows of t.csv meet {'name': 'z'}, one must"),
        ({"filter": "nam=z"}, "t.csv has no column 'nam'; did you mean 'name'?"),
        ({"figure": "median"}, "t.csv has no column 'median'"),
        ({"filter": "name"}, "'name' is not of the form column=value"),
        ({"csv": "u.csv"}, "A: there is no .*u.csv"),
    ],
)
def test_a_figure_that_cannot_be_found(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        measure(claim(**changes), folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "hold"}, "line 2: verdict 'hold' is none; did you mean 'holds'?"),
        ({"state": "old"}, "state 'old' is none; valid: '' or 'before the mended random streams'"),
        ({"sentence": ""}, "sentence is empty"),
        ({"csv": ""}, "a verdict of 'holds' needs a csv"),
        ({"verdict": "not tried"}, "a verdict of 'not tried' has no csv"),
    ],
)
def test_a_row_that_cannot_be_read(folder, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(write(folder, claim(**changes)))


def test_a_table_that_cannot_be_read(folder):
    with pytest.raises(ConfigError, match="t.csv: the columns must be system, paper"):
        read(folder / "t.csv")
    file = write(folder)
    file.write_text(file.read_text() + "A,P\n")
    with pytest.raises(ConfigError, match="line 2: has not 14 cells"):
        read(file)
    with pytest.raises(ConfigError, match="there is no .* claims are kept in a checkout"):
        read(folder / "nothing.csv")


def test_new_results_are_written_back(folder):
    file = write(folder, claim(value="0.4", seeds="1"), claim(filter="name=z step=1", value="0.2", seeds="1"))
    (changed,) = update(file)
    assert (changed.value, changed.seeds) == ("0.5", "2") and read(file)[0] == changed
    assert update(file) == []


def test_patterns_and_what_is_missing():
    found = [claim(system="A B"), claim(system="C", verdict="not here")]
    assert matching(found, "NOT here") == found[1:] and matching(found, "b") == found  # "better"
    assert missing(found, ["A", "B", "D", "C", "D"]) == ["D"]


def test_signs_and_marks_are_explained_where_they_stand(folder, capsys):
    old = claim(claimed="?", state=STATES[1], value="0.5", seeds="2")
    said = {}
    for name, c in (("old", old), ("new", claim(claimed="1", value="0.5", seeds="2"))):
        assert main(["claims", "--file", str(write(folder, c))]) == 0
        said[name] = capsys.readouterr().out
    assert "0.5 (2 seeds)*" in said["old"] and "\n   1 holds: seen here\n" in said["old"]
    for note in ("\n?: the paper's text was not obtained", "\n*: taken when the masks"):
        assert note in said["old"] and note not in said["new"]


def test_the_verb(folder, capsys):
    assert main(["claims", "Three Cell"]) == 0
    out = capsys.readouterr().out
    assert "LOOPE" in out and "not here" in out and "HardPatches" not in out
    file = str(write(folder, claim(value="0.4", seeds="1")))
    assert main(["claims", "--file", file, "--update"]) == 0
    assert "1 of the figures changed\n  A: better: 0.5 (2 seeds)" in capsys.readouterr().out
    assert main(["claims", "--file", file]) == 0 and "\nWithout a row: ALiBi" in capsys.readouterr().out
    assert main(["claims", "nothing like it"]) == 2 and "no claim matches 'nothing like it'" in capsys.readouterr().err

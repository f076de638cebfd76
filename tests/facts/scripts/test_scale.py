"""The script behind docs/scale.md: its commands are understood, its table is what the page shows."""

import csv
import pathlib

import pytest

from jaxemb.aot.report import COLUMNS
from jaxemb.aot.topology import named
from jaxemb.cli.parser import parser
from jaxemb.config import override
from jaxemb.experiment import find

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def scale(script):
    return script("scale")


def test_a_dry_run_prints_commands_that_are_understood(scale, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scale.py", "--dry-run"])
    assert scale.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 19
    for words in scale.commands(scale.TABLE):
        args = parser().parse_args(words[1:])
        override(find(str(ROOT / args.experiment)), args.set)
        assert all(named(slice_) for slice_ in args.topology)


def test_what_has_a_row_is_not_compiled_again(scale, monkeypatch, tmp_path, capsys):
    ran = []

    class Done:
        returncode = 0

    monkeypatch.setattr(scale.subprocess, "run", lambda command, cwd: ran.append(command) or Done)
    monkeypatch.setattr("sys.argv", ["scale.py", "--csv", str(tmp_path / "t.csv"), "--only", "text_7b"])
    assert scale.main() == 0 and len(ran) == 7
    first = capsys.readouterr().out.splitlines()[0]
    with (tmp_path / "t.csv").open("w", newline="") as f:
        out = csv.DictWriter(f, COLUMNS)
        out.writeheader()
        out.writerow({"command": first})
    assert scale.main() == 0 and len(ran) == 13


def test_the_page_shows_the_table_of_the_results(scale):
    page = (ROOT / "docs" / "scale.md").read_text()
    shown = page.partition("<!-- scripts/scale.py --markdown -->\n")[2].partition("<!-- end -->")[0]
    assert shown == scale.markdown(scale.TABLE) + "\n"


def test_rows_typed_by_hand_come_last(scale, tmp_path):
    table = tmp_path / "t.csv"
    known = scale.commands(scale.TABLE)[0]
    with table.open("w", newline="") as f:
        out = csv.DictWriter(f, COLUMNS)
        out.writeheader()
        for words in (["jaxemb", "compile", "--csv", "it.csv", "mine.py", "--topology", "cpu:8"], known):
            out.writerow({"experiment": "mine", "accumulate": "1", "command": " ".join(words)})
    first, last = scale.markdown(table).splitlines()[2:]
    assert first.startswith("| ViT-B/16 I-JEPA |") and last.startswith("| mine |")
    assert last.endswith("| `jaxemb compile mine.py --topology cpu:8` |")

"""The command line answers damaged and hostile input in one line: some hundred cases in this process, without compiling anything.
`scripts/fuzz.py` runs as many as one likes."""

import json
import sys
import warnings

import pytest


@pytest.fixture(scope="module")
def fuzz(script):
    return script("fuzz")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr("jaxemb.packages._named", [])
    monkeypatch.setattr("sys.path", list(sys.path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow thinks of damaged files
        yield


@pytest.mark.parametrize("kind", ["config", "set", "files", "path", "inputs"])
def test_no_holes_no_hangs_no_tracebacks(fuzz, kind, capsys):
    counts = fuzz.fuzz(60, 0, kinds=[kind], limit=20, shapes=False)
    assert (counts["hole"], counts["hang"], counts["traceback"]) == (0, 0, 0), capsys.readouterr().out
    assert counts["fine"] == 60


def test_a_hole_is_found(fuzz, monkeypatch):
    """Planted: code of the folder that one happens to be in is taken for the user's."""
    with monkeypatch.context() as patch:
        patch.setattr("jaxemb.packages.is_run", lambda folder: False)
        monkeypatch.setenv("JAXEMB_PROJECT", ".")
        assert fuzz.fuzz(200, 1, kinds=["set"], shapes=False)["hole"]


def test_a_traceback_is_found(fuzz, monkeypatch):
    monkeypatch.setattr("jaxemb.files.parse_json", json.loads)
    assert fuzz.fuzz(60, 0, kinds=["files"], shapes=False)["traceback"]


def test_a_hang_is_found(fuzz, monkeypatch):
    monkeypatch.setattr("jaxemb.cli.verbs.compare", lambda args: [None for _ in iter(int, 1)])
    assert fuzz.fuzz(3, 0, kinds=["files"], limit=0.2, shapes=False)["hang"]

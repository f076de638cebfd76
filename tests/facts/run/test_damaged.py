"""Run folders that are damaged or made to harm: every answer names the file, and nothing hangs."""

import json
import os

import pytest

from jaxemb.log.compare import columns, write_csv
from jaxemb.log.plot import PlotError, curves, group_by_seed, read_config
from jaxemb.run.folder import Run, RunError
from jaxemb.run.manifest import fault, manifest_path, seal
from jaxemb.run.metrics import read_rows

GOOD = '{"step": 1, "loss": 0.5}'
DEEP = "[" * 5000


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text('{"@": "jaxemb.experiment:Experiment", "name": "x", "seed": 0}')
    (tmp_path / "env.json").write_text('{"devices": ["cpu"], "versions": {"jax": "0"}}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "knn/top1": 0.25}\n{"step": 9, "knn/top1": 0.5, "loss": 1}\n')
    return tmp_path


@pytest.mark.parametrize(
    "line",
    ["5", "{}", "null", "[1]", '{"step": "1"}', '{"step": -1}', '{"step": true}', '{"step": 1.5}', '{"step": %s}' % ("9" * 400)]
    + [DEEP, "{" * 300, "\x00\xff", '{"step": 1, "lo'],
)
def test_lines_that_are_no_figures_are_left_out_and_said(tmp_path, line, caplog):
    (tmp_path / "metrics.jsonl").write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    assert read_rows(tmp_path) == [json.loads(GOOD)] * 2
    assert "1 damaged lines are left out, the first is line 2" in caplog.text


def test_bytes_that_are_no_text_cost_their_line_alone(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe\x00\n" + GOOD.encode() + b"\n\x80")
    assert read_rows(tmp_path) == [json.loads(GOOD)]


def test_values_that_are_no_numbers_are_none_and_names_that_cannot_be_shown_are_left_out(tmp_path):
    row = {"step": 3, "a": "x", "b": True, "c": [1], "d": 2, "\x1b[2J": 1, "x" * 201: 1, "": 1}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + '\n{"step": 4, "a": NaN, "b": 1e999}')
    assert read_rows(tmp_path) == [{"step": 3, "a": None, "b": None, "c": None, "d": 2}, {"step": 4, "a": None, "b": None}]
    assert Run(tmp_path).figures(3) == {"d": 2}


@pytest.mark.parametrize("text", ["null", "5", "[]", '"jaxemb.posemb.none:NoPos"', "{}", '{"name": "x"}', DEEP, "9" * 400, "", "{"])
def test_a_config_that_is_none(run, text):
    (run / "config.json").write_text(text)
    with pytest.raises(RunError, match="config.json is damaged"):
        Run(run).config()


def test_a_config_that_cannot_be_read_at_all(run):
    (run / "config.json").unlink()
    os.mkfifo(run / "config.json")
    with pytest.raises(RunError, match="has no config.json"):
        Run(run).experiment()
    with pytest.raises(PlotError, match="is no run folder"):
        group_by_seed([run])


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "runs/x@²", "runs/x@" + "9" * 400, "@3", "@", "\udcff"])
def test_paths_that_cannot_be(path):
    found = Run(path)
    assert found.step is None
    with pytest.raises(RunError, match="does not exist") as e:
        found.config()
    str(e.value).encode()


def test_steps_are_read_from_the_path():
    assert (Run("runs/x@500").step, str(Run("runs/x@500").path)) == (500, "runs/x")


@pytest.mark.parametrize("text", ["null", "5", "[]", DEEP, "", '{"devices": 3, "versions": []}', '{"devices": []}'])
def test_an_environment_that_is_none(run, tmp_path, text):
    (run / "env.json").write_text(text)
    try:
        write_csv(tmp_path / "a.csv", columns([run]))
    except ValueError as e:
        assert "env.json" in str(e)


@pytest.mark.parametrize("text", ['{"name": 3}', "[]", '{"seed": 1}', '{"name": "x", "seed": "y"}', "null"])
def test_a_config_without_name_and_seed(run, text):
    (run / "config.json").write_text(text)
    with pytest.raises(PlotError, match="config.json is damaged: it holds (no experiment with a name|a list|a NoneType)"):
        read_config(run)


def test_names_of_figures_with_dollars_are_drawn(run, tmp_path):
    (run / "metrics.jsonl").write_text('{"step": 1, "a$b/top1": 0.5, "$\\\\frac/top1": 1}\n')
    assert curves([run], tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    "text", ["null", "[]", DEEP, '{"a": 3}', '{"%s": [1, "x"]}' % ("a" * 5000), '{"a\\u0000": [1, "x"]}', '{"../a": [1, "x"]}']
)
def test_a_manifest_that_is_none(tmp_path, text):
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "a").write_text("x")
    seal(tmp_path, 5)
    assert fault(tmp_path, 5) is None
    manifest_path(tmp_path, 5).write_text(text)
    assert "manifest" in fault(tmp_path, 5) or "is missing" in fault(tmp_path, 5)
    manifest_path(tmp_path, 5).unlink()
    os.mkfifo(manifest_path(tmp_path, 5))
    assert "has no manifest" in fault(tmp_path, 5)

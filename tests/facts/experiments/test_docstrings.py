"""The data of the fine-tuning is written by its command, and the experiment reads them."""

import json
import sys

from experiments.text import docstrings
from jaxemb.config import from_json, to_json
from jaxemb.data.beir import read_beir


def test_the_command_writes_what_the_experiment_reads(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "source"
    folder.mkdir()
    for i in range(12):
        body = (
            f'    """Counts the values up to {i}, in a list."""\n    values = list(range({i}))\n    return sorted(values)[::-1]\n'
        )
        (folder / f"m{i}.py").write_text(f"def count_{i}(unused):\n{body}")
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["docstrings", str(out), "--train", str(folder), "--held-out", "etils", "--share", ".3"])
    docstrings.main_()
    assert "'train': " in capsys.readouterr().out
    counts = json.loads((out / "counts.json").read_text())
    assert counts["train"] + counts["modules"] == 12 and counts["libraries"] > 100
    for name, e in docstrings.main.evals.items():
        assert e.path == f"{docstrings.DATA}/{name}" and len(read_beir(str(out / name)).queries) == counts[name]
    assert docstrings.main.data.path == f"{docstrings.DATA}/train.jsonl" and (out / "train.jsonl").is_file()


def test_the_experiment_is_what_its_config_says():
    doc = json.loads(json.dumps(to_json(docstrings.main)))
    assert to_json(from_json(doc)) == doc

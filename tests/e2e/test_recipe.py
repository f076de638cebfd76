"""Closed-form work has the run folder and the verbs of a training."""

import json
import shutil

import numpy as np
import pytest

import jaxemb
from jaxemb.cli import main
from jaxemb.config import ConfigError, override
from jaxemb.data.digits import Digits
from jaxemb.evals.knn import KNN
from jaxemb.experiment import Recipe, find
from jaxemb.run.checkpoint import CheckpointError
from jaxemb.run.files import RunError
from jaxemb.run.folder import Run
from jaxemb.train.recipe import FitInputs, compute, read_fitted
from jaxemb.transforms.whitening import Whitening

SMALL = Recipe(name="white", fit=FitInputs(Whitening(components=8)), data=Digits(), evals={"knn": KNN(train=300, test=100)})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "white"
    compute(SMALL, folder, say=lambda text: None)
    return folder


def test_the_folder_holds_what_a_training_would(run):
    assert {p.name for p in run.iterdir()} >= {"config.json", "env.json", "metrics.jsonl", "assets", "checkpoints", "log.txt"}
    (row,) = Run(run).metrics()
    assert row["step"] == 1 and row["knn/top1"] > 0.6
    assert Run(run).experiment() == SMALL
    assert {p.name for p in (run / "checkpoints" / "1" / "arrays").iterdir()} == {"mean.npy", "matrix.npy"}


def test_the_same_command_says_that_it_is_done(run):
    said, before = [], (run / "metrics.jsonl").read_bytes()
    assert compute(SMALL, run, say=said.append)["knn/top1"] > 0.6
    assert "nothing is left to do" in said[-1] and (run / "metrics.jsonl").read_bytes() == before
    with pytest.raises(RunError, match="another config, which differs in\n  fit.transform.components: 8 there, 9 here"):
        compute(override(SMALL, ["fit.transform.components=9"]), run)


def test_it_is_judged_from_its_path_alone(run, monkeypatch):
    assert jaxemb.evaluate(run)["knn"]["top1"] == Run(run).figures(1)["knn/top1"]
    record = json.loads((run / "evals" / "knn@1.json").read_text())
    assert record["step"] == 1 and record["weights"] == "arrays"
    with pytest.raises(ConfigError, match="what was fitted cannot be changed afterwards"):
        jaxemb.evaluate(run, changes=["fit.transform.power=0.0"])


def test_embeddings_are_those_of_the_transform(run):
    model, step = read_fitted(Run(run), SMALL)
    z = model.encode(SMALL.data.split("train")[:])
    assert step == 1 and z.shape[1] == 8
    np.testing.assert_allclose(np.cov(z.T), np.eye(8), atol=1e-4)


def test_a_changed_array_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    file = copy / "checkpoints" / "1" / "arrays" / "matrix.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"the bytes of arrays/matrix.npy have changed|no complete checkpoint"):
        jaxemb.evaluate(copy)


def test_what_a_recipe_cannot_be_asked_for_is_said(run):
    with pytest.raises(ConfigError, match="white is a Recipe.*train, eval, show, plot and compare know it"):
        jaxemb.load(run)


def test_names_are_checked_as_those_of_experiments():
    with pytest.raises(ConfigError, match="it names the run folder"):
        override(SMALL, ['name="../x"'])


def test_the_verbs(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jaxemb.cli.verbs.is_first", lambda: True)
    assert isinstance(find("experiments/jepa/baselines.py"), Recipe)
    small = ["--set", "evals.knn.train=200", "--set", "evals.knn.test=50", "--set", "evals.probe.train=200"]
    folder = str(tmp_path / "digits")
    assert main(["train", "experiments/jepa/baselines.py:digits_pca", "--run", folder, *small]) in (0, None)
    for command in (["show", str(run)], ["compare", str(run), folder], ["plot", str(run), "--out", str(tmp_path / "a.png")]):
        assert main(command) in (0, None)
    out = capsys.readouterr().out
    assert "knn/top1" in out and "Whitening" in out and (tmp_path / "a.png").is_file()
    assert main(["doctor", str(run)]) == 2


def test_there_are_no_steps_to_trace(capsys, tmp_path):
    command = ["train", "experiments/jepa/baselines.py", "--run", str(tmp_path / "run"), "--profile", "0:5"]
    assert main(command) == 2 and not (tmp_path / "run").exists()
    assert "--profile traces steps, and digits_whitened is a recipe, which has none" in capsys.readouterr().err
    assert main([*command[:-1], "5"]) == 2
    assert "--profile takes START:STOP, two numbers of steps, e.g. 100:110, not '5'" in capsys.readouterr().err

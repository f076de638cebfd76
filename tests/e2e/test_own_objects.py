"""A run is what its config describes: objects in two fields are two, its preprocessing is saved, `best` names what there is."""

import dataclasses
import shutil

import pytest

import jaxemb
from jaxemb.config import ConfigError
from jaxemb.ops.paths import by_path
from jaxemb.posemb.learned import Learned
from jaxemb.run.files import RunError
from jaxemb.run.folder import Run
from jaxemb.train.loop import train
from jaxemb.train.setup import own_objects, state_shapes
from jaxemb.train.sharding import make_mesh


@pytest.fixture(scope="module")
def shared(tiny):
    """One table of positions in the encoder and in the predictor."""
    plain = tiny("steps=2", "evals={}")
    pos = Learned(shape=(4, 4))
    encoder = dataclasses.replace(plain.objective.encoder, pos=pos)
    predictor = dataclasses.replace(plain.objective.predictor, pos=pos, width=encoder.width)
    objective = dataclasses.replace(plain.objective, encoder=encoder, predictor=predictor)
    return dataclasses.replace(plain, objective=objective)


@pytest.fixture(scope="module")
def run(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "shared"
    train(shared, folder)
    return folder


def test_an_object_in_two_fields_is_two_and_that_is_said(shared, run):
    assert own_objects(shared)[1] == [["objective.encoder.pos", "objective.predictor.pos"]]
    assert own_objects(own_objects(shared)[0])[1] == []
    assert "objective.encoder.pos and objective.predictor.pos were one object" in (run / "log.txt").read_text()


def test_a_run_fits_its_own_config(run):
    """Linen would train one table for the two fields, and the stored config would then describe another model."""
    rebuilt = Run(run).experiment()
    described = by_path(state_shapes(rebuilt, make_mesh({"data": 1})).params)
    checkpoints = Run(run).checkpoints()
    assert set(described) == set(checkpoints.shapes(checkpoints.pick(), "params"))
    assert sum("pos" in path for path in described) == 2


def test_defaults_are_nobodys_choice(tiny):
    assert own_objects(tiny())[1] == []


def test_a_run_without_its_assets_is_refused(run, shared, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    description = next(p for p in (copy / "assets").iterdir() if p.name == "preprocess.json")
    description.write_text(description.read_text() + " ")
    with pytest.raises(RunError, match="copy cannot be used: .*has changed since it was saved"):
        jaxemb.load(copy)
    shutil.rmtree(copy / "assets")
    for use in (lambda: jaxemb.load(copy), lambda: train(shared, copy), lambda: jaxemb.evaluate(copy)):
        with pytest.raises((RunError, ConfigError), match="copy cannot be used: .*holds no preprocessing|has no evaluations"):
            use()


def test_a_best_that_no_evaluation_gives_is_refused_before_the_first_step(tiny, tmp_path):
    with pytest.raises(ConfigError, match="best='knn/nope': the evaluation gives no such figure; did you mean 'knn/top1'"):
        train(tiny("best=knn/nope", "evals.knn.split=valid", "evals.knn.train=40", "evals.knn.test=20"), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(ConfigError, match="runs at the end alone.*set evals.knn.every"):
        tiny("best=knn/top1", "evals.knn.every=-1")

"""Experiments that start from a pretrained folder: the arrays are the file's, and a word on each that is not."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.data.key_value import KeyValue
from jaxemb.experiment import Experiment
from jaxemb.io.origin import Origin
from jaxemb.io.pretrained import architecture, load, parameter_shapes
from jaxemb.io.tensors import TensorFiles
from jaxemb.nn.block import stack_blocks
from jaxemb.nn.hf.base import Towers
from jaxemb.objectives.classify import Classify
from jaxemb.ops.paths import by_path
from jaxemb.pooling.pooler import Pooler
from jaxemb.train.init import FromRun, SourceError
from jaxemb.train.loop import train
from jaxemb.train.pretrained import FromPretrained
from jaxemb.train.sharding import make_mesh
from jaxemb.train.start import first_state, untrained


@pytest.fixture(scope="session")
def bert(golden):
    return golden / "hf" / "bert"


def encoder_of(folder):
    port = architecture(folder)
    shapes = parameter_shapes(port.encoder.module, np.zeros((1, 4), np.int32), mesh=make_mesh({"data": 1}))
    return load(TensorFiles(folder), {"": port.encoder}, shapes, whole=port)


@pytest.fixture(scope="module")
def experiment(bert):
    port = architecture(bert)
    assert not isinstance(port, Towers)
    objective = Classify(port.encoder.module, Pooler(), classes=8, inputs="tokens")
    data = KeyValue(length=8, count_train=8, count_valid=8, count_test=8)
    return Experiment(
        name="tuned",
        objective=objective,
        data=data,
        steps=1,
        batch=8,
        init=FromPretrained(str(bert)),
        log_every=1,
        mesh={"data": 1},
    )


def test_an_experiment_starts_from_the_file_and_trains(experiment, bert, tmp_path):
    said = []
    state = first_state(experiment, make_mesh({"data": 1}), said.append)
    count = len(jax.tree.leaves(state.params))
    assert said == [f"{count - 2} of {count} parameters from {bert}", "as initialised: head/bias, head/kernel"]
    for path, x in by_path(encoder_of(bert)).items():
        np.testing.assert_array_equal(by_path(state.params["encoder"])[path], x)
    np.testing.assert_array_equal(state.params["pooling"]["dense"]["kernel"], TensorFiles(bert).read("pooler.dense.weight").T)
    assert np.isfinite(train(experiment, tmp_path / "run")["loss"])
    assert said[0] in (tmp_path / "run" / "log.txt").read_text()
    assert from_json(to_json(experiment)) == experiment


def test_an_average_starts_from_the_file_too_and_a_scan_gets_stacks(experiment, bert):
    encoder = experiment.objective.encoder.clone(scan=True)
    changed = dataclasses.replace(experiment, objective=experiment.objective.clone(encoder=encoder), ema=(0.9, 1.0))
    state = first_state(changed, make_mesh({"data": 1}), lambda text: None)
    wanted = by_path(stack_blocks(encoder_of(bert)))
    for tree in (state.params, state.ema):
        assert by_path(tree["encoder"]).keys() == wanted.keys()
        for path, x in by_path(tree["encoder"]).items():
            np.testing.assert_array_equal(x, wanted[path])


def shapes(tree):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return {f"params/{p}": jax.ShapeDtypeStruct(s, np.float32, sharding=place) for p, s in tree.items()}


def test_other_names_and_what_is_left_behind(bert):
    files, said = TensorFiles(bert), []
    table = files["embeddings.word_embeddings.weight"].shape
    found = FromPretrained(str(bert), renames=(("^encoder/", "student/"),))(shapes({"student/stem/embedding": table}), said.append)
    assert list(found) == ["params/student/stem/embedding"]
    assert said[1].startswith("left behind: embeddings.LayerNorm.bias, embeddings.LayerNorm.weight, ")
    with pytest.raises(ConfigError, match="init.renames: 'enc0der' finds nothing in"):
        FromPretrained(str(bert), renames=(("enc0der", "x"),))(shapes({"encoder/stem/embedding": table}))
    with pytest.raises(ConfigError, match="is no regular expression"):
        FromPretrained(str(bert), renames=(("(", "x"),))


def test_what_does_not_fit_is_refused(bert):
    table = TensorFiles(bert)["embeddings.word_embeddings.weight"].shape
    with pytest.raises(ConfigError, match=r"does not fit\n  1 of another shape or dtype:\n    embeddings.word_embeddings.weight"):
        FromPretrained(str(bert))(shapes({"encoder/stem/embedding": (table[0] + 1, table[1]), "head/kernel": (1,)}))
    with pytest.raises(ConfigError, match="no path is the same; it has encoder/stem/embedding"):
        FromPretrained(str(bert))(shapes({"head/kernel": (1,)}))


def test_a_source_that_is_gone(experiment, tmp_path):
    gone = dataclasses.replace(experiment, init=FromPretrained(str(tmp_path / "gone")))
    with pytest.raises(SourceError, match="init: there is no folder"):
        first_state(gone, make_mesh({"data": 1}))
    said = []
    untrained(gone, make_mesh({"data": 1}), said.append)
    assert "untrained here means the random initialisation" in said[-1]


def test_a_run_keeps_what_its_source_had_started_from(bert, tmp_path):
    """Through runs that start from runs: the folder itself may be gone by then."""
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    FromPretrained(str(bert)).keep(tmp_path / "first")
    FromRun(str(tmp_path / "first")).keep(tmp_path / "second")
    found = Origin.read(tmp_path / "second")
    assert found is not None and found.name == str(bert) and found.config["model_type"] == "bert"
    assert found.tensors["pooler.dense.bias"] == TensorFiles(bert)["pooler.dense.bias"].shape
    FromPretrained(str(tmp_path / "gone")).keep(tmp_path / "third")  # said when the first state is made
    FromRun(str(tmp_path / "third")).keep(tmp_path / "third")
    assert Origin.read(tmp_path / "third") is None

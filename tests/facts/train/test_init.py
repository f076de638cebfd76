"""What an experiment starts from: another run's arrays, all of them, and a word on each that was not taken."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.data.digits import Digits
from jaxemb.doctor.patient import Patient
from jaxemb.experiment import Experiment
from jaxemb.nn.resnet import ResNet
from jaxemb.objectives.classify import Classify
from jaxemb.ops.paths import by_path
from jaxemb.run.checkpoint import Checkpoints
from jaxemb.run.folder import Run
from jaxemb.train.init import FromRun, Init
from jaxemb.train.setup import new_state
from jaxemb.train.sharding import make_mesh
from jaxemb.train.start import first_state, untrained
from jaxemb.train.state import items_of

SHAPE = jax.ShapeDtypeStruct


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of two arrays: a kernel and batch statistics, trained and averaged."""
    run = tmp_path_factory.mktemp("source")
    (run / "config.json").write_text('{"@": "jaxemb.experiment:Experiment"}')
    tree = {"encoder": {"norm": {"scale": jnp.arange(3.0)}, "up": {"kernel": jnp.ones((2, 3))}}}
    items = {
        "params": tree,
        "ema": jax.tree.map(lambda x: x + 10, tree),
        "stats": {"batch_stats": {"encoder": {"norm": {"mean": jnp.full(3, 7.0)}}}},
    }
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.save(5, items, {})
    checkpoints.close()
    return str(run)


def shapes(*paths):
    """{path: shape on one device} of "path:2,3" texts."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    made = [text.partition(":") for text in paths]
    return {path: SHAPE(tuple(map(int, s.split(","))), jnp.float32, sharding=place) for path, _, s in made}


SCALE, KERNEL, MEAN = "params/encoder/norm/scale:3", "params/encoder/up/kernel:2,3", "batch_stats/encoder/norm/mean:3"


def test_other_state_comes_along_and_what_did_not_is_said(source):
    said = []
    found = FromRun(source)(shapes(SCALE, MEAN, "params/head/bias:4", "batch_stats/head/mean:4"), said.append)
    assert set(found) == {"params/encoder/norm/scale", "batch_stats/encoder/norm/mean"}
    np.testing.assert_array_equal(found["batch_stats/encoder/norm/mean"], [7, 7, 7])
    np.testing.assert_array_equal(found["params/encoder/norm/scale"], [10, 11, 12])  # the average: what was judged
    where = f"{source} at step 5"
    assert said == [
        f"1 of 2 averaged parameters from {where}",
        f"1 of 2 batch_stats from {where}",
        "as initialised: head/bias, batch_stats/head/mean",
        "left behind: encoder/up/kernel",
    ]


def test_with_an_average_both_come(source):
    found = FromRun(source)(shapes(SCALE, KERNEL, "ema/encoder/up/kernel:2,3", MEAN), lambda text: None)
    assert float(found["params/encoder/up/kernel"].mean()) == 1 and float(found["ema/encoder/up/kernel"].mean()) == 11


def test_every_mismatch_is_listed_at_once(source):
    asked = shapes("params/encoder/norm/scale:4", "params/encoder/up/kernel:5,3", "params/head/bias:4")
    with pytest.raises(ConfigError) as caught:
        FromRun(source)(asked)
    for line in (
        "2 arrays of another shape",
        "encoder/norm/scale: (3,) there, (4,) here",
        "encoder/up/kernel: (2, 3) there, (5, 3) here",
        "missing there: head/bias",
        "unexpected, not in this experiment: batch_stats/encoder/norm/mean",
    ):
        assert line in str(caught.value)
    with pytest.raises(ConfigError, match=r"no path is the same\n  missing there: head/bias\n  unexpected.*encoder/up/kernel"):
        FromRun(source)(shapes("params/head/bias:4"))


def test_renames(source):
    found = FromRun(source, renames=(("^encoder/", "student/"),))(
        shapes("params/student/norm/scale:3", "batch_stats/student/norm/mean:3"), lambda text: None
    )
    assert set(found) == {"params/student/norm/scale", "batch_stats/student/norm/mean"}
    for renames, words in (
        ((("^encodr/", "x/"),), "'\\^encodr/' finds nothing in"),
        ((("norm/scale|up/kernel", "same"),), "two arrays of .* would be called encoder/same"),
    ):
        with pytest.raises(ConfigError, match=words):
            FromRun(source, renames=renames)(shapes(SCALE))
    with pytest.raises(ConfigError, match=r"'\(' is no regular expression"):
        FromRun(source, renames=(("(", "x"),))


def test_a_step_by_field_or_by_name(source):
    for init in (FromRun(source, step=5), FromRun(f"{source}@5")):
        assert init(shapes(SCALE), lambda text: None)
    with pytest.raises(RuntimeError, match="no checkpoint 4"):
        FromRun(source, step=4)(shapes(SCALE))


@dataclasses.dataclass(frozen=True)
class Wild(Init):
    """Gives what nobody asked for."""

    def __call__(self, shapes, say=print):
        return {"params/nowhere": jnp.zeros(3)}


@pytest.fixture(scope="module")
def resnet():
    return Experiment(name="resnet", objective=Classify(ResNet(width=4), classes=10), data=Digits(), steps=30, batch=64)


def test_an_init_that_gives_what_has_no_place_is_refused(resnet):
    with pytest.raises(ConfigError, match="no place for: nowhere"):
        first_state(dataclasses.replace(resnet, init=Wild()), make_mesh({"data": 1}))


def test_a_resnet_keeps_all_that_its_accuracy_rests_on(resnet, tmp_path):
    """Batch statistics come along: without them a ResNet at .9 started at .19. "Untrained" is then that start, everywhere."""
    mesh = make_mesh({"data": 1})
    run = Run(tmp_path / "source")
    trained = jax.tree.map(lambda x: x + jnp.asarray(0.3, x.dtype), items_of(new_state(resnet, mesh).replace(key=jnp.zeros(2))))
    with run.claimed(resnet), contextlib.closing(run.checkpoints()) as checkpoints:
        checkpoints.save(3, trained, {})
    tuned = dataclasses.replace(resnet, init=FromRun(str(run.path)), mesh={"data": 1})
    assert from_json(to_json(tuned)) == tuned
    state = first_state(tuned, mesh)
    for there, here in ((trained["params"], state.params), (trained["stats"], state.stats)):
        assert there
        for path, x in by_path(there).items():
            np.testing.assert_array_equal(x, by_path(here)[path])
    said, patient = [], object.__new__(Patient)
    patient.experiment, patient.mesh, patient.say = tuned, mesh, said.append
    np.testing.assert_array_equal(patient.untrained["params"]["head"]["bias"], trained["params"]["head"]["bias"])
    gone = dataclasses.replace(tuned, init=FromRun(str(tmp_path / "gone")))
    assert untrained(gone, mesh, said.append).params.keys() == state.params.keys()
    assert "untrained here means the random initialisation" in said[-1] and "gone does not exist" in said[-1]

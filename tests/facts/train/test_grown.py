"""Tuned positions from end to end: a pretrained folder, its table grown, and a step that trains the new rows alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.data.key_value import KeyValue
from jaxemb.experiment import Experiment
from jaxemb.io.pretrained import architecture
from jaxemb.objectives.classify import Classify
from jaxemb.ops.paths import by_path
from jaxemb.pooling.mean import Mean
from jaxemb.posemb.extended import Extended
from jaxemb.train.grown import Grown
from jaxemb.train.init import Init
from jaxemb.train.optim import Optim
from jaxemb.train.pretrained import FromPretrained
from jaxemb.train.sharding import make_mesh
from jaxemb.train.start import first_state
from jaxemb.train.step import make_step

TABLE = "encoder/pos/table"


@pytest.fixture(scope="module")
def experiment(golden):
    folder = golden / "hf" / "bert"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    encoder = architecture(folder).encoder.module
    extend = Extended(original=encoder.pos.shape[0], factor=2)
    return Experiment(
        name="grown",
        objective=Classify(encoder.clone(pos=extend), Mean(), classes=8, inputs="tokens"),
        data=KeyValue(length=8, count_train=8, count_valid=8, count_test=8),
        optim=Optim(lr=0.01, schedule="constant", decay=0.5, freeze=("^(?!.*pos/rows)",)),
        steps=1,
        batch=8,
        init=Grown(FromPretrained(str(folder)), extend),
        mesh={"data": 1},
    )


def test_a_step_with_weight_decay_moves_new_rows_and_nothing_else(experiment):
    mesh = make_mesh({"data": 1})
    plain = dataclasses.replace(
        experiment,
        objective=dataclasses.replace(experiment.objective, encoder=architecture(experiment.init.of.path).encoder.module),
        init=experiment.init.of,
        optim=Optim(),
    )
    table = by_path(first_state(plain, mesh, lambda text: None).params)[TABLE]
    before = first_state(experiment, mesh, lambda text: None)
    expected = experiment.init.extend.variables_from(table)
    np.testing.assert_array_equal(by_path(before.params)["encoder/pos/rows"], expected["params"]["rows"])
    np.testing.assert_array_equal(by_path(before.stats)[f"constants/{TABLE}"], table)
    batch = next(experiment.data.batches(8, seed=0))
    after, _ = jax.jit(make_step(experiment.objective, experiment.optim, steps=1))(before, batch)
    old, new = by_path(before.params), by_path(after.params)
    assert {path for path in old if not bool((old[path] == new[path]).all())} == {"encoder/pos/rows"}
    np.testing.assert_array_equal(by_path(after.stats)[f"constants/{TABLE}"], table)


def test_it_is_part_of_the_stored_config(experiment):
    assert from_json(to_json(experiment)).init == experiment.init


@dataclasses.dataclass(frozen=True)
class Gives(Init):
    """Arrays as they are, of those that are asked for."""

    arrays: dict = dataclasses.field(default_factory=dict)

    def __call__(self, shapes, say=print):
        return {path: x for path, x in self.arrays.items() if path in shapes}


def shapes(old, new, width=3):
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    made = {"params/encoder/pos/rows": (new, width), f"constants/{TABLE}": (old, width)}
    return {path: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place) for path, shape in made.items()}


@pytest.mark.parametrize(
    ("extend", "there", "message"),
    [
        (
            Extended(original=5),
            shapes(4, 4),
            "Grown.extend has original=5 and factor=2; the experiment's has 4 rows and 4 new ones",
        ),
        (Extended(original=4, factor=3), shapes(4, 4), "original=4 and factor=3; the experiment's has 4 rows and 4 new"),
        (
            Extended(original=4),
            {},
            "for an experiment with Extended positions under encoder/pos, and it has no params/encoder/pos/r",
        ),
        (Extended(original=4), shapes(4, 4), "what Grown begins with has no table encoder/pos/table of 3 numbers a row"),
    ],
)
def test_what_does_not_fit(extend, there, message):
    with pytest.raises(ConfigError, match=message):
        Grown(Gives(), extend)(there)

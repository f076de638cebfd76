import dataclasses

import numpy as np
import pytest
from fakes import Fake

from jaxemb.config import ConfigError
from jaxemb.data.base import ArraySpec
from jaxemb.evals.accuracy import Accuracy
from jaxemb.evals.base import Eval
from jaxemb.evals.knn import KNN
from jaxemb.evals.rankme import RankMe
from jaxemb.evals.raw import RawInputs


def refuse_all(arrays):
    raise AssertionError("the encoder is not asked")


refuse = Fake(refuse_all)


def test_figures_of_the_inputs_without_the_encoder(clusters):
    assert RawInputs(of=KNN(k=5)).run(refuse, clusters) == KNN(k=5).run(Fake(lambda a: a["images"]), clusters) == {"top1": 1.0}


def test_images_are_flattened(known):
    rows = {"images": np.eye(4, dtype=np.float32).reshape(4, 2, 2, 1), "labels": np.arange(4, dtype=np.int32)}
    assert RawInputs(of=KNN(k=1)).run(refuse, known(rows, rows)) == {"top1": 1.0}


def test_what_has_no_numbers_is_refused(clusters):
    class Ids(type(clusters)):
        spec = {"ids": ArraySpec((7,), "int32"), "labels": ArraySpec((), "int32")}

    with pytest.raises(ConfigError, match="RawInputs needs an array of numbers, the data hold ids, labels"):
        RawInputs().run(refuse, Ids(**{f.name: getattr(clusters, f.name) for f in dataclasses.fields(clusters)}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows(Eval):
    """Checks the rows that it is given, number by number."""

    def run(self, model, data, *, seed=0):
        arrays = data.split("test")[:]
        np.testing.assert_array_equal(model.encode(arrays), arrays["images"].reshape(3, 8))
        return {"seen": 1.0}


def test_a_row_is_one_input_as_it_is(known):
    images = np.random.default_rng(0).normal(size=(3, 2, 4, 1)).astype(np.float32)
    rows = {"images": images, "labels": np.arange(3, dtype=np.int32)}
    assert RawInputs(of=Rows()).run(refuse, known(rows, rows)) == {"seen": 1.0}


def test_an_evaluation_that_asks_for_a_head_is_refused(clusters):
    with pytest.raises(ConfigError, match="of=Accuracy: it asks for a head of the model, and inputs have none"):
        RawInputs(of=Accuracy())
    with pytest.raises(ConfigError, match="RawInputs has inputs alone, and its evaluation asks for the model's 'project'"):
        RawInputs(of=RankMe(of="project")).run(refuse, clusters)

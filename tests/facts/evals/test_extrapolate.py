import logging

import numpy as np
import pytest
from fakes import Fake

from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits
from jaxemb.data.images import Images
from jaxemb.data.key_value import KeyValue
from jaxemb.evals.accuracy import Accuracy
from jaxemb.evals.extrapolate import Extrapolate
from jaxemb.evals.knn import KNN

DATA = KeyValue(length=20, count_test=30)


class Model:
    """Knows every answer, but takes no more than `most` tokens."""

    def __init__(self, most):
        self.most, self.seen = most, []

    def score(self, rows, *, of):
        assert of == "logits"
        arrays = rows[:]
        self.seen.append(arrays["tokens"].shape)
        if arrays["tokens"].shape[1] > self.most:
            raise ConfigError(f"the table ends at {self.most}")
        return np.eye(8, dtype=np.float32)[arrays["labels"]]


def test_a_figure_for_each_factor():
    model = Model(100)
    assert Extrapolate(field="length", factors=(1.0, 1.5, 4.0)).run(model, DATA) == {
        "x1_top1": 1.0,
        "x1.5_top1": 1.0,
        "x4_top1": 1.0,
    }
    assert model.seen == [(30, 20), (30, 30), (30, 80)]


def test_a_size_that_is_refused_is_left_out_with_the_reason(caplog):
    with caplog.at_level(logging.WARNING, "jaxemb"):
        figures = Extrapolate(field="length", factors=(0.2, 1.0, 4.0)).run(Model(50), DATA)
    assert figures == {"x1_top1": 1.0}
    assert "length x 0.2 is left out: length=4 is too short" in caplog.text
    assert "length x 4 is left out: the table ends at 50" in caplog.text
    with pytest.raises(ConfigError, match="the table ends at 5"):
        Extrapolate(field="length").run(Model(5), DATA)


def test_larger_images_and_another_evaluation():
    seen = []

    def encode(arrays):
        seen.append(arrays["images"].shape[1:3])
        return arrays["images"].reshape(len(arrays["images"]), -1)

    figures = Extrapolate(of=KNN(train=40, test=20, data=Digits()), factors=(1.0, 1.5)).run(Fake(encode), DATA)
    assert figures.keys() == {"x1_top1", "x1.5_top1"} and set(seen) == {(8, 8), (12, 12)}


def test_fields_that_cannot_be_multiplied_are_named():
    for evaluation, message in (
        (Extrapolate(), "field='size': KeyValue has none of that name.*valid: count_test, .*length"),
        (Extrapolate(field="length", factors=(1.0, 1.01)), "factors: 1.01 x length=20 is not a whole number"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluation.run(Model(100), DATA)
    with pytest.raises(ConfigError, match="field='train' must be a whole number of Images, it is 'train'"):
        Extrapolate(field="train").run(Model(100), Images("cifar10"))
    for factors in ((), (0.0, 1.0)):
        with pytest.raises(ConfigError, match="factors must be numbers above 0"):
            Extrapolate(factors=factors)
    assert Extrapolate().of == Accuracy()

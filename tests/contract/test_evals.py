"""What every evaluation keeps to: a function of `encode` and data, and of nothing else."""

import json

import numpy as np
import pytest

from jaxemb.config import from_json, to_json
from jaxemb.data.digits import Digits
from jaxemb.discover import members

SMALL = {"train": 60, "test": 30, "k": 3, "shots": 2, "draws": 3, "epochs": 2, "samples": 40, "examples": 8, "rounds": 2}
DATA = Digits()


@pytest.fixture(params=members("evals"), ids=lambda m: m.name)
def evaluation(request):
    """A member with small numbers in the fields it has."""
    return request.param.cls(**{name: value for name, value in SMALL.items() if name in request.param.defaults})


class Encode:
    """Flattens, and remembers what it was given."""

    def __init__(self):
        self.rows = 0

    def __call__(self, arrays):
        assert {len(x) for x in arrays.values()} == {len(arrays["images"])}
        self.rows += len(arrays["images"])
        arrays["images"].flags.writeable = False  # who writes into the data from here on is found out
        return arrays["images"].reshape(len(arrays["images"]), -1)


def measure(evaluation, encode, seed=0):
    return {k: v for k, v in evaluation.run(encode, DATA, seed=seed).items() if not k.endswith("per_second")}


def test_figures_are_finite_numbers_by_name(evaluation):
    figures = evaluation.run(Encode(), DATA, seed=0)
    assert figures
    for name, value in figures.items():
        assert name and "/" not in name and type(value) is float and np.isfinite(value)
        assert not name.endswith("top1") or 0 <= value <= 1


def test_the_seed_decides(evaluation):
    assert measure(evaluation, Encode()) == measure(evaluation, Encode())


def test_a_better_encoder_scores_no_worse(evaluation):
    """The label itself, one-hot, against no information at all."""
    if not hasattr(evaluation, "label"):
        pytest.skip("does not look at labels")

    def oracle(arrays):
        return np.eye(10, dtype=np.float32)[arrays["labels"]]

    assert evaluation.run(oracle, DATA)["top1"] == 1.0
    assert evaluation.run(lambda arrays: np.zeros((len(arrays["labels"]), 4), np.float32), DATA)["top1"] < 0.3


def test_json_round_trip(evaluation):
    assert from_json(json.loads(json.dumps(to_json(evaluation)))) == evaluation


def test_every_counts_steps_and_data_may_be_others(evaluation):
    assert evaluation.every == -1 and evaluation.data is None

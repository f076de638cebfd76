"""Probes of a step share the rows that they encode; what measures the encoding itself does not."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxemb.data.shapes import Shapes
from jaxemb.evals.knn import KNN
from jaxemb.evals.probe import Ridge
from jaxemb.evals.throughput import Throughput
from jaxemb.train.encode import Bound
from jaxemb.train.judge import Judge, once
from jaxemb.train.sharding import make_mesh


@pytest.fixture
def counted():
    """(an encoder, the numbers of rows it was called with)."""
    calls = []

    def encode(arrays):
        x = arrays["x"] if "x" in arrays else arrays["images"]
        calls.append(len(x))
        return np.asarray(x, np.float32).reshape(len(x), -1)

    return Bound(encode, lambda method: Bound(lambda arrays: method, None)), calls


def test_rows_are_known_by_their_content(counted):
    encode, calls = counted
    shared = once(encode)
    x, y = np.arange(6.0).reshape(3, 2), np.ones(3)
    first = shared({"x": x, "y": y})
    assert np.array_equal(shared({"y": y.copy(), "x": x.copy()}), first) and calls == [3]
    for other in ({"x": x + 1, "y": y}, {"x": x, "y": y + 1}, {"x": x}, {"x": x.reshape(6, 1)}):
        shared(other)
    assert calls == [3, 3, 3, 3, 6]
    assert shared.of("logits")({}) == "logits"


def test_probes_share_and_throughput_does_not(counted, monkeypatch):
    encode, calls = counted
    monkeypatch.setattr("jaxemb.train.judge.Encoder", lambda *a, **k: SimpleNamespace(bind=lambda variables: encode))
    data = Shapes(count_train=30, count_valid=10, count_test=10, size=16)
    evals = {"knn": KNN(k=3), "white": KNN(k=3, whiten=True), "probe": Ridge(), "speed": Throughput(examples=8, rounds=3)}
    experiment = SimpleNamespace(objective=None, data=data, evals=evals, seed=0)
    figures = Judge(experiment, make_mesh({"data": 1}))(None)
    assert {"knn/top1", "white/top1", "probe/top1", "speed/per_second"} <= set(figures)
    assert sorted(calls) == [8, 8, 8, 8, 10, 30]

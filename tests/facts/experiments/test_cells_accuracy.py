import numpy as np
import pytest
from fakes import Fake

from experiments.posemb.cells.accuracy import ThreeCellAccuracy, answers, grouped
from experiments.posemb.cells.data import LABELS, ThreeCell
from jaxemb.config import ConfigError
from jaxemb.data.digits import Digits

DATA = ThreeCell(count_test=2000)
EVALUATION = ThreeCellAccuracy(test=2000)


def head(logits):
    """A model whose logits are a function of the arrays."""
    return Fake(logits=logits)


def said(yes):
    """Logits (b, 12) that answer so, b 6."""
    return np.stack([-yes, yes], axis=-1).reshape(len(yes), 12).astype(np.float32)


def truth(arrays):
    return np.stack([arrays[name] for name in LABELS], axis=1) * 2.0 - 1


def test_an_oracle_and_its_opposite():
    figures = EVALUATION.run(head(lambda a: said(truth(a))), DATA)
    assert all(value == 1.0 for name, value in figures.items() if name != "constant_average")
    assert list(figures) == [
        "distance", "orientation", "area", "vector_sum", "average", "distance_exact", "area_exact", "constant_average"
    ]  # fmt: skip
    figures = EVALUATION.run(head(lambda a: said(-truth(a))), DATA)
    assert all(value == 0.0 for name, value in figures.items() if name != "constant_average")


def test_the_constant_baseline_of_balanced_data():
    """Always "no" but for the sum: 66.7 / 50 / 66.7 / 58.1, the average 60.4; equal, as it says, is a third of the cases."""
    constant = np.array([[-1, -1, -1, -1, -1, 1.0]])
    figures = EVALUATION.run(head(lambda a: said(np.repeat(constant, len(a["cells"]), axis=0))), DATA)
    for name, expected in (("distance", 2 / 3), ("orientation", 0.5), ("area", 2 / 3), ("vector_sum", 0.5808)):
        assert figures[name] == pytest.approx(expected, abs=0.03), name
    assert figures["average"] == pytest.approx(0.6035, abs=0.015)
    assert figures["distance_exact"] == pytest.approx(1 / 3, abs=0.03)
    assert figures["area_exact"] == pytest.approx(1 / 3, abs=0.03)
    assert figures["average"] <= figures["constant_average"] < figures["average"] + 0.02


def test_exact_asks_for_both_labels():
    """Right about one label of distance in every row: half of each, and never exact."""

    def half(arrays):
        yes = truth(arrays)
        yes[:, 0] *= -1
        return said(yes)

    figures = EVALUATION.run(head(half), DATA)
    assert (figures["distance"], figures["distance_exact"], figures["area_exact"]) == (0.5, 0.0, 1.0)
    assert figures["average"] == (0.5 + 3) / 4


def test_yes_is_a_sigmoid_above_one_half():
    logits = np.array([[0.3, 0.2, -5.0, -4.0, 1.0, 1.0]])
    difference = logits[:, 1::2] - logits[:, ::2]
    assert answers(logits).tolist() == [[False, True, False]] == (1 / (1 + np.exp(-difference)) > 0.5).tolist()


def test_groups():
    got = grouped(dict(zip(LABELS, (0.5, 0.7, 0.1, 0.2, 0.4, 1.0))))
    assert got == pytest.approx({"distance": 0.6, "orientation": 0.1, "area": 0.3, "vector_sum": 1.0, "average": 0.5})


def test_what_it_cannot_measure_is_named():
    with pytest.raises(ConfigError, match="no 'logits'"):
        EVALUATION.run(Fake(lambda arrays: np.zeros((2, 2), np.float32)), DATA)
    with pytest.raises(ConfigError, match="the data have no nearer_blue, nearer_green"):
        EVALUATION.run(head(truth), Digits())
    with pytest.raises(ConfigError, match=r"needs 12 logits.* not 6"):
        EVALUATION.run(head(truth), DATA)

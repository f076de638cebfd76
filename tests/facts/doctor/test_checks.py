"""Differences of shares, beside their noise."""

import math

import numpy as np
import pytest

from jaxemb.doctor import checks
from jaxemb.doctor.checks import compared
from jaxemb.doctor.patient import Patient


@pytest.mark.parametrize(
    ("got", "other", "rows", "red", "level"),
    [
        (0.4, 0.3, 10, True, "grey"),  # 30 % and 40 % of ten images are one image apart
        (0.3, 0.4, 10, True, "grey"),
        (1.0, 0.0, 10, True, "green"),
        (0.0, 1.0, 10, True, "red"),
        (0.4, 0.3, 1000, True, "green"),
        (0.3, 0.4, 1000, True, "red"),
        (0.3, 0.4, 1000, False, "yellow"),  # raw inputs are not always beaten
        (0.4, 0.39, 1000, True, "yellow"),  # so many rows would have shown a gain
    ],
)
def test_nothing_is_said_within_the_noise(got, other, rows, red, level):
    f = compared("k-NN", got, other, rows, "untrained", red=red)
    assert f.level == level and f.value == pytest.approx(got - other) and f"{rows} rows" in f.meaning
    assert bool(f.advice) == (level in ("yellow", "red"))
    assert ("within the noise" in f.meaning) == (level == "grey")


def test_standard_errors_by_hand():
    """Two rows of either answer are added: 402 of 1004 and 302 of 1004."""
    a, b = (math.sqrt(k / 1004 * (1 - k / 1004) / 1004) for k in (402, 302))
    assert f"40.0% ± {a:.1%} trained, 30.0% ± {b:.1%} untrained" in compared("x", 0.4, 0.3, 1000, "untrained", red=True).meaning


@pytest.mark.parametrize(("rows", "level"), [(10, "grey"), (600, "red")])
def test_a_few_labels_are_not_called_shuffled(rows, level):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 8)), np.arange(rows) % 10
    p = Patient.__new__(Patient)
    p.raw = {"labels": y}
    (f,) = checks._labels(p, x)
    assert f.level == level and f"{rows} examples" in f.meaning

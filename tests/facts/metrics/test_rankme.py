"""The unit facts of the method."""

import numpy as np
import pytest

from jaxemb.metrics.rankme import rankme

EPS = 1e-7


def with_singular_values(s, rows=40, seed=0):
    rng = np.random.default_rng(seed)
    u, _ = np.linalg.qr(rng.normal(size=(rows, len(s))))
    v, _ = np.linalg.qr(rng.normal(size=(len(s), len(s))))
    return u * np.asarray(s) @ v


def test_equal_singular_values_give_the_rank():
    assert rankme(with_singular_values(np.ones(16))) == pytest.approx(16.000045, abs=1e-6)


def test_rank_one_in_closed_form():
    r = 16
    expected = np.exp(-(1 + EPS) * np.log(1 + EPS) - (r - 1) * EPS * np.log(EPS))
    assert rankme(np.outer(np.arange(1, 41), np.ones(r))) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(1.0000241, abs=1e-7)


def test_invariances():
    z = with_singular_values([3.0, 2.0, 1.0, 0.5])
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))
    for other in (5 * z, -z, z @ rotation, z[::-1], np.concatenate([z, z])):
        assert rankme(other) == pytest.approx(rankme(z), rel=1e-9)


def test_two_equal_values_give_two_and_three_one_by_hand():
    assert rankme(with_singular_values([1.0, 1.0, 0.0, 0.0])) == pytest.approx(2, abs=1e-5)
    assert rankme(with_singular_values([3.0, 1.0]), eps=0.0) == pytest.approx(np.exp(0.5623351), rel=1e-6)


def test_between_one_and_the_rank_without_eps():
    s = [4.0, 2.0, 1.0, 1e-3]
    assert 1 <= rankme(with_singular_values(s), eps=0.0) <= 4


def test_singular_values_not_their_squares():
    assert rankme(with_singular_values(1 / np.arange(1, 17))) == pytest.approx(10.580, abs=1e-3)


def test_centring_is_another_number_and_zeros_are_one():
    z = with_singular_values([3.0, 2.0, 1.0]) + 5
    assert rankme(z, centre=True) == pytest.approx(rankme(z - z.mean(0)), rel=1e-9)
    assert abs(rankme(z, centre=True) - rankme(z)) > 0.1
    assert rankme(np.zeros((5, 3))) == 1.0

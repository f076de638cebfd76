"""Every af_* array of aflite.npz: partitions given, scores exact, removals, what is left, a fit."""

import numpy as np
import pytest

from jaxemb.data.filter import AfLite, fit, standardised


@pytest.fixture
def g(load):
    return load("aflite.npz")


def test_rounds(g):
    x, y, size = g["af_X"], g["af_y"], int(g["af_m"])
    lite = AfLite(size=size, partitions=int(g["af_partitions"]), cut=int(g["af_k"]), threshold=float(g["af_tau"]))
    z, left, smallest = standardised(x), np.arange(len(y)), np.inf
    for i, splits in enumerate(g["af_splits"]):
        orders = [split[split >= 0] for split in splits]
        assert all(np.array_equal(np.sort(order), left) for order in orders)
        scores = lite.scores(z, y, left, iter(orders))
        np.testing.assert_array_equal(scores, g["af_scores"][i], err_msg=f"round {i}")
        gone = lite.chosen(scores, left)
        np.testing.assert_array_equal(gone, g["af_removed"][i][g["af_removed"][i] >= 0], err_msg=f"round {i}")
        for order in orders:
            coefficients, intercept = fit(z[order[:size]], y[order[:size]])
            smallest = min(smallest, np.abs(z[order[size:]] @ coefficients + intercept).min(initial=np.inf))
        left = np.setdiff1d(left, gone)
    np.testing.assert_array_equal(left, g["af_left"])
    np.testing.assert_allclose(smallest, g["af_min_decision"], rtol=1e-3)


def test_a_fit(g):
    first = g["af_splits"][0, 0][: int(g["af_m"])]
    coefficients, intercept = fit(standardised(g["af_X"])[first], g["af_y"][first])
    np.testing.assert_allclose([*coefficients, intercept], g["af_coef0"], rtol=1e-5, atol=1e-7)

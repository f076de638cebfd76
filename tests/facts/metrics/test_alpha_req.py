import numpy as np
import pytest

from jaxemb.metrics.alpha_req import alpha_req, eigenspectrum


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_a_power_law_gives_its_exponent(alpha):
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(200, 20)) - 0.0)
    q = q - q.mean(0)
    q, _ = np.linalg.qr(q)
    x = q * np.sqrt(200 * np.arange(1, 21.0) ** -alpha)
    np.testing.assert_allclose(eigenspectrum(x), np.arange(1, 21.0) ** -alpha, rtol=1e-9)
    assert alpha_req(x, first=2, last=18) == pytest.approx(alpha, rel=1e-8)


def test_null_eigenvalues_are_not_fitted():
    """100 rows of 256 features have 99 eigenvalues; with the zeros behind them in the fit, isotropic data got 70."""
    x = np.random.default_rng(0).normal(size=(100, 256))
    alpha = alpha_req(x)
    assert 0 < alpha < 1.5
    turned = x @ np.linalg.qr(np.random.default_rng(1).normal(size=(256, 256)))[0]
    wider = np.concatenate([turned, np.zeros((100, 300))], axis=1)  # features that are always zero say nothing
    assert alpha_req(wider) == pytest.approx(alpha)
    assert alpha_req(x, last=200) == pytest.approx(alpha_req(x, last=99))


def test_a_range_without_two_eigenvalues_is_nan():
    line = np.outer(np.arange(20.0), np.ones(8))  # collapsed: one eigenvalue
    assert np.isnan(alpha_req(line)) and np.isnan(alpha_req(np.ones((20, 8))))

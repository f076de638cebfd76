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

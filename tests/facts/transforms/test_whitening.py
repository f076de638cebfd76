"""Covariance I after whitening, the principal variances after PCA, null directions left out."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.transforms.whitening import Whitening


@pytest.fixture(scope="module")
def x():
    """500 rows of three variances, 16, 4 and 1, turned and shifted, in five dimensions."""
    rng = np.random.default_rng(0)
    plane, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    return (rng.normal(size=(500, 3)) * [4, 2, 1]) @ plane[:, :3].T + rng.normal(size=5)


def test_the_covariance_is_the_identity(x):
    w = Whitening()
    z = w.apply(w.fit(x), x)
    assert z.shape == (500, 3) and z.dtype == np.float32  # the two null directions are gone
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=1e-5)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)


def test_at_power_0_principal_components_keep_distances(x):
    w = Whitening(power=0.0)
    z = w.apply(w.fit(x), x)
    np.testing.assert_allclose(np.cov(z.T), np.diag(np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1][:3]), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(z[0] - z[1]), np.linalg.norm(x[0] - x[1]), rtol=1e-5)


def test_fewer_components_are_the_first(x):
    every, two = Whitening(), Whitening(components=2)
    np.testing.assert_allclose(two.apply(two.fit(x), x), every.apply(every.fit(x), x)[:, :2], atol=1e-6)


@pytest.mark.parametrize("fields", [{"components": 0}, {"power": 2.0}, {"floor": 0.0}])
def test_what_makes_no_sense(fields):
    with pytest.raises(ConfigError, match="Whitening"):
        Whitening(**fields)


def test_rows_that_cannot_be_fitted():
    for rows, words in ((np.ones((1, 3)), "two rows"), (np.ones((4, 3)), "all rows are the same")):
        with pytest.raises(ConfigError, match=words):
            Whitening().fit(rows)

import numpy as np
import pytest

from jaxemb.metrics.lidar import lidar, lidar_spectrum


def test_views_without_spread_leave_the_spectrum_of_the_images_over_delta():
    means = np.random.default_rng(0).normal(size=(50, 3))
    e = np.repeat(means[:, None], 4, axis=1)
    expected = np.linalg.eigvalsh(np.cov(means, rowvar=False))[::-1] / 1e-4
    np.testing.assert_allclose(lidar_spectrum(e), expected, rtol=1e-9)


def test_images_that_differ_in_one_direction_read_as_one():
    rng = np.random.default_rng(1)
    e = rng.normal(size=(200, 1, 1)) * np.array([100.0, 0, 0, 0]) + rng.normal(size=(200, 10, 4)) * 0.1
    assert lidar(e) == pytest.approx(1, abs=0.05)

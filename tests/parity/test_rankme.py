"""RankMe, alpha-ReQ and LiDAR against independent float64 values (vision_rankme.npz): every array of the file."""

import numpy as np
import pytest

from jaxemb.metrics.alpha_req import alpha_req, eigenspectrum
from jaxemb.metrics.lidar import lidar, lidar_spectrum
from jaxemb.metrics.rankme import rankme

RTOL = 1e-7


@pytest.fixture
def arrays(load):
    return load("vision_rankme.npz")


def test_every_spectrum(arrays):
    names = [k.removeprefix("rankme_") for k in arrays if k.startswith("rankme_") and not k.startswith("rankme_centered_")]
    assert names
    for name in names:
        z, s = arrays[f"Z_{name}"], arrays[f"sv_{name}"]
        np.testing.assert_allclose(np.linalg.svd(z, compute_uv=False), np.sort(s)[::-1], rtol=RTOL, atol=1e-10)
        assert rankme(z) == pytest.approx(float(arrays[f"rankme_{name}"]), rel=RTOL)
        assert rankme(z, centre=True) == pytest.approx(float(arrays[f"rankme_centered_{name}"]), rel=RTOL)
        # eps = 0 has no logarithm of a zero singular value: the smallest number stands in
        assert rankme(z, eps=1e-300) == pytest.approx(float(arrays[f"exact_noeps_{name}"]), rel=1e-6)
        assert rankme(z.astype(np.float32)) == pytest.approx(float(arrays[f"rankme_{name}"]), rel=1e-4)


def test_gaussian(arrays):
    assert rankme(arrays["Z_gauss"]) == pytest.approx(float(arrays["Z_gauss_rankme_from_f32"]), rel=RTOL)
    assert rankme(arrays["Z_gauss"]) == pytest.approx(float(arrays["Z_gauss_rankme"]), rel=1e-6)


def test_alpha_req(arrays):
    np.testing.assert_allclose(eigenspectrum(arrays["Z_alpha"]), arrays["alpha_eigs"], rtol=RTOL)
    first, last = int(arrays["alpha_lo"]), int(arrays["alpha_hi"])
    assert alpha_req(arrays["Z_alpha"], first=first, last=last) == pytest.approx(float(arrays["alpha_value"]), rel=RTOL)


def test_lidar(arrays):
    delta, eps = float(arrays["lidar_delta"]), float(arrays["lidar_eps"])
    np.testing.assert_allclose(lidar_spectrum(arrays["lidar_E"], delta=delta), arrays["lidar_eigs"], rtol=RTOL, atol=1e-12)
    assert lidar(arrays["lidar_E"], delta=delta, eps=eps) == pytest.approx(float(arrays["lidar_value"]), rel=RTOL)

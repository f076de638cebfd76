"""Waves of real-valued positions (core_loope.npz)."""

import numpy as np

from jaxemb.posemb.base import Places
from jaxemb.posemb.loope import LOOPE
from jaxemb.posemb.sincos import SinCos


def test_real_positions(load, precision):
    arrays = load("core_loope.npz")
    pos, expected = precision.array(arrays["real_pos"])[None, :, None], arrays["real_pe"]
    assert expected.shape == (pos.shape[1], int(arrays["real_D"]))
    x = precision.array(np.zeros((1, *expected.shape)))
    for module in (LOOPE(), SinCos(axes=1)):
        got = module.apply({}, x, Places(pos), method="add")[0]
        assert got.dtype == precision.name
        precision.check(got, expected, type(module).__name__)

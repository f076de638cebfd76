"""Orders of the cells of a grid against core_loope.npz: every order of the file."""

import re

import numpy as np

from jaxemb.ops.curves import ORDERS, order


def test_every_order(load):
    arrays = load("core_loope.npz")
    seen = set()
    for name, expected in arrays.items():
        if m := re.fullmatch(r"([a-z]+)_(\d+)(?:x(\d+))?", name):
            if m[1] not in ORDERS:
                continue
            seen.add(m[1])
            np.testing.assert_array_equal(order(m[1], int(m[2]), int(m[3] or m[2])), expected, err_msg=name)
    assert seen >= {"raster", "snake", "gilbert", "hilbert"}

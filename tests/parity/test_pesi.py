"""PESI of waves along an order against core_loope.npz: names hold the order, the grid, the width and the buckets."""

import re

import numpy as np
import pytest

from jaxemb.metrics import pesi as module
from jaxemb.metrics.pesi import pesi
from jaxemb.ops.curves import order

RTOL = 1e-7
TIE = 1e-11
"""Cosines this close are equal on paper: those that are not differ by 1e-9 and more."""


def waves(index, width):
    angles = index[..., None] * 10_000.0 ** (-2 * np.arange(width // 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def cases(arrays):
    found = {name: m for name in arrays if (m := re.fullmatch(r"pesi_([a-z]+)_(\d+)x(\d+)_D(\d+)_N(\d+)", name))}
    assert found and len(found) == sum(name.startswith("pesi_") for name in arrays)
    for name, m in found.items():
        rows, columns, width, buckets = map(int, m.groups()[1:])
        yield name, waves(order(m[1], rows, columns), width), buckets, arrays[name]


def test_every_table(load):
    for name, table, buckets, (undirected, _, asymmetry) in cases(load("core_loope.npz")):
        got = pesi(table, buckets=buckets)
        assert got.undirected == pytest.approx(undirected, rel=RTOL), name
        assert got.asymmetry == pytest.approx(asymmetry, rel=RTOL), name


def test_directed_up_to_the_order_of_ties(load, monkeypatch):
    """The file ranks equal cosines by the rounding errors of the processor that wrote it (with another kernel of the same BLAS we
    get other digits, from the fifth decimal to the fourth): whoever breaks them lies between all one way and all the other."""
    plain = module.spearman_within
    for name, table, buckets, (_, directed, _) in cases(load("core_loope.npz")):
        ends = []
        for tilt in (TIE, -TIE):
            monkeypatch.setattr(module, "spearman_within", lambda x, y, *groups, tilt=tilt: plain(x, y + tilt * x, *groups))
            ends.append(pesi(table, buckets=buckets).directed)
        monkeypatch.setattr(module, "spearman_within", plain)
        assert ends[0] < ends[1] < ends[0] + 0.01, name
        for value in (directed, *(pesi(table, buckets=buckets, decimals=d).directed for d in (None, 9))):
            assert ends[0] - RTOL <= value <= ends[1] + RTOL, name

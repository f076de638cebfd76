"""The published rows, and the formulas in plain loops."""

import math

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.metrics.pesi import pesi, ranks, spearman_within
from jaxemb.ops.curves import order


def waves(index, width):
    angles = index[..., None] * 10_000.0 ** (-2 * np.arange(width // 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def correlation(xs, ys):
    """Spearman's rho in loops: a rank is the number of smaller values, plus half of the others that are equal."""
    n = len(xs)
    if n < 2:
        return 0.0
    rank = [[sum(b < a for b in v) + (v.count(a) - 1) / 2 for a in v] for v in (xs, ys)]
    return 1 - 6 * sum((a - b) ** 2 for a, b in zip(*rank)) / (n * (n * n - 1))


def by_hand(table, buckets):
    rows, columns, _ = table.shape
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    figures = []
    for r0, c0 in cells:
        a = table[r0, c0]
        levels, sectors = {}, [([], []) for _ in range(buckets)]
        for r, c in cells:
            e = float(a @ table[r, c] / math.sqrt((a @ a) * (table[r, c] @ table[r, c])))
            distance = math.hypot(r - r0, c - c0)
            levels.setdefault(round(distance), []).append(e)
            xs, ys = sectors[math.floor(math.atan2(c - c0, r - r0) / (2 * math.pi / buckets)) % buckets]
            xs.append(distance)
            ys.append(e)
        radii = sorted(levels)
        undirected = 1 - correlation(radii, [float(np.mean(levels[r])) for r in radii])
        directed = 1 - sum(correlation(*s) for s in sectors) / buckets
        figures.append((undirected, directed, np.mean([np.std(levels[r]) / np.mean(levels[r]) for r in radii])))
    return np.mean(figures, axis=0)


@pytest.mark.parametrize("name, published", [("raster", (1.9567, 1.4905, 0.1243)), ("gilbert", (1.9674, 1.2900, 0.0939))])
def test_published_rows(name, published):
    """Table 5: "1-D sinusoid" and "LOOPE (ours)", 14 x 14, 768 wide."""
    np.testing.assert_allclose(pesi(waves(order(name, 14, 14), 768), decimals=9), published, atol=5.1e-5)
    np.testing.assert_allclose(pesi(waves(order(name, 14, 14), 768)), published, atol=2e-4)


@pytest.mark.parametrize("shape, buckets", [((4, 5, 6), 8), ((3, 3, 4), 1), ((6, 2, 3), 60)], ids=str)
def test_the_formulas_in_loops(shape, buckets):
    table = np.random.default_rng(0).normal(size=shape) + 1.5  # no two cosines are equal
    np.testing.assert_allclose(pesi(table, buckets=buckets), by_hand(table, buckets), rtol=1e-10)


def test_a_cone_of_similarity_is_ideal():
    """E = exp(-squared distance / s), by its square root as a table: falls with distance and is the same in all directions."""
    cells = np.stack(np.indices((5, 5)), axis=-1).reshape(-1, 2)
    kernel = np.exp(-((cells[:, None] - cells[None]) ** 2).sum(-1) / 8.0)
    values, vectors = np.linalg.eigh(kernel)
    table = (vectors * np.sqrt(values)).reshape(5, 5, 25)
    got = pesi(table, buckets=8, decimals=9)
    assert got.undirected == 2.0
    assert 0 < got.asymmetry < 0.3, "not 0: a level holds distances that round to it"
    assert got.directed == pytest.approx(by_hand(np.asarray(table), 8)[1], abs=1e-3)


def test_scale_and_rotation_change_nothing():
    table = np.random.default_rng(1).normal(size=(4, 4, 8))
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))
    np.testing.assert_allclose(pesi(3 * table @ rotation), pesi(table), rtol=1e-9)


def test_ranks_within_groups():
    x, group = np.array([3.0, 1.0, 1.0, 5.0, 2.0]), np.array([7, 2, 2, 7, 2])
    np.testing.assert_array_equal(ranks(x, group), [0, 0.5, 0.5, 1, 2])
    np.testing.assert_array_equal(spearman_within(x, -x, np.array([1, 0, 0, 1, 1]), 3), [1, -1, 0])


def test_buckets_must_be_positive():
    with pytest.raises(ConfigError, match="buckets must be at least 1, is 0"):
        pesi(np.ones((2, 2, 2)), buckets=0)

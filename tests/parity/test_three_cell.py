"""Geometry, labels and counts of the Three Cell experiment against core_loope.npz, where cells are (x, y)."""

import re

import numpy as np

from experiments.posemb.cells.data import LABELS, geometry, labels, triples

CASES = (1, 2, 0)
"""Ours (green - blue: equal, >, <) in the order of the file: >, <, equal."""


def side(arrays):
    """Of the grid of `cells`: 200 triples reach its last row."""
    return int(arrays["cells"].max()) + 1


def of(cells):
    """Geometry of (b, R/G/B, (row, column)), as 64 bits."""
    return geometry(*((c[:, 0].astype(np.int64), c[:, 1].astype(np.int64)) for c in cells.transpose(1, 0, 2)))


def test_every_triple(load):
    arrays = load("core_loope.npz")
    g = of(arrays["cells"][..., ::-1])
    expected = arrays["geometry"]
    got = np.stack([g.green_distance, g.blue_distance, g.turn, g.green_area / 2, g.blue_area / 2, g.x_sum, g.y_sum], axis=1)
    np.testing.assert_array_equal(got, expected)
    found = labels(g, side(arrays))
    np.testing.assert_array_equal(np.stack([found[name] for name in LABELS], axis=1), arrays["labels"])


def test_one_triple_at_a_time_is_the_same(load):
    arrays = load("core_loope.npz")
    for cells, expected in zip(arrays["cells"], arrays["labels"], strict=True):
        assert list(labels(geometry(*(tuple(map(int, c[::-1])) for c in cells)), side(arrays)).values()) == expected.tolist()


def test_every_count(load):
    arrays = load("core_loope.npz")
    grids = [int(m[1]) for name in arrays if (m := re.fullmatch(r"count_(\d+)", name))]
    assert grids
    for grid in grids:
        cells, expected = grid**2, arrays[f"count_{grid}"]
        cases = triples(grid)
        total = cells * (cells - 1) * (cells - 2)
        assert total - sum(map(len, cases)) == int(arrays[f"collinear_{grid}"])
        for d in range(3):
            for a in range(3):
                ids = cases[3 * CASES[d] + CASES[a]]
                g = geometry(*(np.divmod(c, grid) for c in (ids // cells**2, ids // cells % cells, ids % cells)))
                answers = labels(g, grid)
                got = np.bincount(2 * answers["clockwise"] + answers["sum_outside"], minlength=4).reshape(2, 2)
                np.testing.assert_array_equal(got, expected[d, a], err_msg=f"grid {grid}, case {d} {a}")

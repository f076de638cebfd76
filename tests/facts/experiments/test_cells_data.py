"""The unit facts of the task: geometry by hand, balance, and triples that training never sees."""

import numpy as np
import pytest

from experiments.posemb.cells.data import LABELS, ThreeCell, geometry, labels, triples
from jaxemb.config import ConfigError
from jaxemb.data.base import DataError

SMALL = ThreeCell(grid=5, count_train=300, count_test=200)


def test_a_triple_by_hand():
    g = geometry((0, 0), (4, 3), (0, 6))  # (row, column) of R = (0, 0), G = (3, 4), B = (6, 0)
    assert g == (25, 36, -24, 12, 0, 9, 4)
    assert [int(x) for x in labels(g, 14).values()] == [0, 1, 0, 1, 0, 0]


def test_exchanging_green_and_blue():
    cells = SMALL.split("test")[:]["cells"].transpose(1, 2, 0)
    one = labels(geometry(*map(tuple, cells)), 5)
    two = labels(geometry(*map(tuple, cells[[0, 2, 1]])), 5)
    for a, b in (("nearer_blue", "nearer_green"), ("larger_green", "larger_blue")):
        np.testing.assert_array_equal(one[a], two[b])
        np.testing.assert_array_equal(one[b], two[a])
    np.testing.assert_array_equal(one["clockwise"], 1 - two["clockwise"])
    np.testing.assert_array_equal(one["sum_outside"], two["sum_outside"])


def test_clockwise_is_as_seen():
    """From red straight up to green, then right to blue: the way of the clock."""
    assert labels(geometry((5, 5), (0, 5), (5, 9)), 14)["clockwise"] == 1


def test_both_sums_must_be_outside():
    def outside(*cells):
        return int(labels(geometry(*cells), 14)["sum_outside"])

    assert outside((4, 4), (5, 5), (5, 5)) == 1
    assert outside((4, 4), (5, 5), (4, 5)) == outside((4, 4), (5, 4), (5, 5)) == 0, "13 is the last cell"


def test_the_published_shares():
    """14 x 14: how rare equal distances and areas are, and what the nine balanced cases make of the sum."""
    cases = triples(14)
    total = sum(map(len, cases))
    assert total == 7_414_680 - 126_072
    assert sum(map(len, cases[:3])) / total == pytest.approx(0.01405, abs=5e-6)
    assert sum(map(len, cases[::3])) / total == pytest.approx(0.00938, abs=5e-6)
    outside, turns = [], 0
    for ids in cases:
        answers = labels(geometry(*(np.divmod(c, 14) for c in (ids // 196**2, ids // 196 % 196, ids % 196))), 14)
        outside.append(answers["sum_outside"].mean())
        turns += int(answers["clockwise"].sum())
    assert turns * 2 == total
    assert np.average(outside, weights=list(map(len, cases))) == pytest.approx(0.6365, abs=5e-5)
    assert np.mean(outside) == pytest.approx(0.5808, abs=5e-5)


def test_drawn_triples_are_balanced_and_labelled():
    rows = ThreeCell(count_test=3000).split("test")[:]
    answers = labels(geometry(*map(tuple, rows["cells"].transpose(1, 2, 0))), 14)
    for name in LABELS:
        np.testing.assert_array_equal(rows[name], answers[name])
    distance = rows["nearer_blue"] + 2 * rows["nearer_green"]
    area = rows["larger_green"] + 2 * rows["larger_blue"]
    np.testing.assert_allclose(np.bincount(3 * distance + area) / 3000, 1 / 9, atol=0.02)
    assert rows["clockwise"].mean() == pytest.approx(0.5, abs=0.03)


def test_training_never_sees_a_test_triple():
    """A grid so small that both sides are drawn exhaustively; together they are all triples."""
    data = ThreeCell(grid=3, count_train=4000, count_valid=1500, count_test=1500, held_out=0.25, valid_share=0.2)
    stream = data.batches(1000, seed=9)
    seen = set().union(*(map(bytes, next(stream)["cells"]) for _ in range(5)))
    train, valid, test = (set(map(bytes, data.split(split)[:]["cells"])) for split in ("train", "valid", "test"))
    assert not (seen | train) & test and not (seen | train) & valid and not valid & test
    assert len(seen | train | valid | test) == sum(map(len, triples(3)))
    other = ThreeCell(grid=3, count_test=1500, held_out=0.25, data_seed=1)
    assert set(map(bytes, other.split("test")[:]["cells"])) != test
    assert len(test) == sum(round(0.25 * len(ids)) for ids in triples(3))


def test_the_dense_form_paints_the_same_cells():
    sparse, dense = (next(ThreeCell(grid=4, patch=2, form=form).batches(3, seed=0)) for form in ("sparse", "dense"))
    assert dense["images"].shape == (3, 8, 8, 3) and dense["images"].dtype == np.float32
    for cells, image in zip(sparse["cells"], dense["images"], strict=True):
        for colour, (row, column) in enumerate(cells):
            where = np.zeros((8, 8), np.float32)
            where[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 1
            np.testing.assert_array_equal(image[..., colour], where)
    for name in LABELS:
        np.testing.assert_array_equal(sparse[name], dense[name])


def test_preprocess_is_arrays_without_labels():
    for data, name in ((SMALL, "cells"), (ThreeCell(grid=5, form="dense", patch=2), "images")):
        cells = ThreeCell(grid=5, count_test=data.count_test).split("test").sample(2)[:]["cells"]
        expected = data.split("test").sample(2)[:][name]
        for item in (cells[0], cells[0].tolist()):
            np.testing.assert_array_equal(data.preprocess([item])[name][0], expected[0])


def test_bad_items():
    for item, message in (
        ([[0, 0], [1, 2]], r"\(row, column\) of a red, a green and a blue cell, not int64 of shape \(2, 2\)"),
        ([[0.0, 0.0], [1.0, 2.0], [3.0, 3.0]], "not float64 of shape"),
        ([[0, 0], [1, 5], [2, 2]], "lie in 0 to 4, not 0 to 5"),
        ([[0, 0], [-1, 2], [2, 2]], "lie in 0 to 4, not -1 to 2"),
        ([[0, 0], [1, 2], [1, 2]], "must differ"),
    ):
        with pytest.raises(DataError, match=message):
            SMALL.preprocess([item])


def test_bad_fields():
    for fields, message in (
        ({"grid": 2}, "grid=2 must lie in 3 to 16"),
        ({"grid": 17}, "grid=17 must lie in 3 to 16"),
        ({"form": "spare"}, r"form='spare'; did you mean 'sparse'\? valid: dense, sparse"),
        ({"patch": 0}, "patch, count_train, count_valid and count_test must be at least 1, not 0"),
        ({"count_test": 0}, "count_test must be at least 1"),
        ({"held_out": 0.0}, "held_out=0.0 must lie between 0 and 1"),
        ({"data_seed": -1}, "data_seed must lie in"),
    ):
        with pytest.raises(ConfigError, match=message):
            ThreeCell(**fields)


def test_names():
    assert SMALL.label_names("clockwise") == ("no", "yes") and SMALL.label_names() == ()
    assert list(SMALL.spec) == ["cells", *LABELS]

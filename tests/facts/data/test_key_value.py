"""Associative recall."""

import dataclasses

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.key_value import KeyValue

DATA = KeyValue(length=40, pairs=4, decoys=3, keys=6, values=5, fillers=3, count_test=600)


def pairs_of(row, data):
    """Key -> value of the body of a row, and where the pairs start, found again from the ids."""
    at = np.flatnonzero((row[:-2] >= 1) & (row[:-2] <= data.keys))
    return dict(zip(row[at], row[at + 1] - 1 - data.keys, strict=True)), at


def test_the_label_is_the_value_after_the_key_that_is_asked_for():
    arrays = DATA.split("test")[:]
    for row, label in zip(arrays["tokens"], arrays["labels"], strict=True):
        found, at = pairs_of(row, DATA)
        assert row[-2] == 0 and found[row[-1]] == label
        assert len(found) == len(at) == DATA.pairs and all(0 <= v < DATA.values for v in found.values())
        rest = np.delete(row[:-2], [*at, *(at + 1)])
        assert (rest > DATA.keys).all() and (rest < DATA.vocabulary).all()
        assert (rest <= DATA.keys + DATA.values).sum() == DATA.decoys


def test_the_answer_is_anywhere_and_anything():
    arrays = DATA.split("test")[:]
    at = [np.flatnonzero(row == row[-1])[0] for row in arrays["tokens"]]
    assert min(at) == 0 and max(at) == DATA.length - 4
    quarters, values = np.bincount(np.array(at) * 4 // (DATA.length - 3)), np.bincount(arrays["labels"])
    assert quarters.min() > 100 and quarters.max() < 200  # 150 expected, deviation 11
    assert values.min() > 70 and values.max() < 170  # 120, deviation 10


def test_longer_rows_hold_more_filler_and_no_more_pairs():
    long = dataclasses.replace(DATA, length=160, count_test=20)
    for row in long.split("test")[:]["tokens"]:
        assert len(pairs_of(row, long)[1]) == 4
        assert (row > DATA.keys + DATA.values).sum() == 160 - 2 - 2 * 4 - 3


def test_training_is_fresh_and_never_the_test_rows():
    stream = DATA.batches(100, seed=0)
    seen = [row.tobytes() for _ in range(3) for row in next(stream)["tokens"]]
    held = {row.tobytes() for split in ("train", "test") for row in DATA.split(split).sample(500)[:]["tokens"]}
    assert len(set(seen)) == 300 and len(held) == 1000 and not held & set(seen)


def test_an_input_is_checked():
    row = DATA.split("test").sample(1)[:]["tokens"][0]
    assert np.array_equal(DATA.preprocess([row.tolist()])["tokens"][0], row)
    for item in (row[1:], row / 2):
        with pytest.raises(DataError, match="an input is length=40 whole numbers"):
            DATA.preprocess([item])
    with pytest.raises(DataError, match=f"ids lie in 0 to {DATA.vocabulary - 1}, not -1 to"):
        DATA.preprocess([np.r_[-1, row[1:]]])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"pairs": 0}, "pairs, fillers, count_train, count_valid and count_test must be at least 1"),
        ({"values": 1}, "values at least 2"),
        ({"decoys": -1}, "decoys at least 0"),
        ({"pairs": 4, "keys": 3}, "keys=3 must be at least pairs=4"),
        ({"length": 12, "pairs": 4, "keys": 4, "decoys": 3}, "length=12 is too short: question, pairs and decoys are 13 tokens"),
        ({"data_seed": -1}, "data_seed must lie in"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        KeyValue(**fields)

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.data.base import DataError
from jaxemb.data.vector_pairs import VectorPairs

R = np.random.default_rng(0)
QUERY, POSITIVE = (R.normal(size=(40, 3)).astype(np.float32) for _ in range(2))
QUERY[20:] = QUERY[:20]  # each query has two pairs
POSITIVE[7] = QUERY[3]


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "x.npz", **{"query": QUERY, "positive": POSITIVE} | arrays)
        return str(tmp_path / "x.npz")

    return write


def test_equal_vectors_have_one_number_and_a_query_is_in_one_split(save):
    data = VectorPairs(save(), 3, valid_share=0.2, test_share=0.25)
    splits = {name: data.split(name)[:] for name in ("train", "valid", "test")}
    assert {name: len(x["query_id"]) for name, x in splits.items()} == {"train": 24, "valid": 6, "test": 10}
    numbers = [set(x["query_id"].tolist()) for x in splits.values()]
    assert sum(map(len, numbers)) == len(set.union(*numbers)) == 20
    whole = {int(i): v for x in splits.values() for i, v in zip(x["query_id"], x["query"]["vectors"], strict=True)}
    for x in splits.values():
        for i, v in zip(x["positive_id"], x["positive"]["vectors"], strict=True):
            assert int(i) not in whole or np.array_equal(whole[int(i)], v)  # 3 is POSITIVE[7] too
    assert 3 in np.concatenate([x["positive_id"] for x in splits.values()])


def test_old_codes_go_with_their_vectors(save):
    data = VectorPairs(save(old_query=2 * QUERY, old_positive=POSITIVE - 1), 3, old_width=3)
    batch = next(data.batches(8, seed=0))
    np.testing.assert_array_equal(batch["query"]["old"], 2 * batch["query"]["vectors"])
    np.testing.assert_array_equal(batch["positive"]["old"], batch["positive"]["vectors"] - 1)


@pytest.mark.parametrize(
    ("arrays", "fields", "message"),
    [
        ({}, {"old_width": 3}, "has no array 'old_query'.* valid: positive, query"),
        ({"positive": POSITIVE[:39]}, {}, "query, positive must have as many rows, not 39, 40"),
        ({"query": QUERY[:, :2]}, {}, r"query must be vectors of width=3 numbers \(n, 3\), not float32 of shape \(40, 2\)"),
        ({"query": np.full_like(QUERY, np.nan)}, {}, "not finite, the first is row 0"),
        ({"query": QUERY[:1], "positive": POSITIVE[:1]}, {}, "no pair is left for the split 'test' with test_share=0.1"),
    ],
)
def test_broken_files(save, arrays, fields, message):
    with pytest.raises(DataError, match=message):
        VectorPairs(save(**arrays), 3, **fields).split("test")


def test_bad_fields(tmp_path):
    with pytest.raises(DataError, match="there is no file .*; set data.path"):
        VectorPairs(str(tmp_path / "none.npz")).split("train")
    for wrong in ({"width": 0}, {"old_width": 0}, {"test_share": 1.0}, {"valid_share": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            VectorPairs("x.npz", **wrong)

import math

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.preprocess.windows import ParallelWindows, bounds, nearest


@pytest.mark.parametrize("tokens", range(30))
def test_every_token_is_in_a_window_and_all_are_full(tokens):
    found = bounds(tokens, 5)
    assert len(found) == max(math.ceil(tokens / 5), 1)
    assert sorted({t for start, stop in found for t in range(start, stop)}) == [*range(tokens)]
    assert {stop - start for start, stop in found} == {min(tokens, 5)}
    assert all(first[1] == second[0] for first, second in zip(found[:-2], found[1:-1], strict=True))  # the last slides back alone


def test_twice_a_window_is_two_windows():
    np.testing.assert_array_equal(bounds(10, 5), [[0, 5], [5, 10]])
    np.testing.assert_array_equal(bounds(11, 5), [[0, 5], [5, 10], [6, 11]])


def test_each_window_has_its_own_prompt_and_special_tokens():
    windows = ParallelWindows(original=6)
    pieces, counts = windows.cut([np.arange(7), np.arange(2)], 8, before=[101, 50], after=[102])
    assert [list(p) for p in pieces] == [
        [101, 50, 0, 1, 2, 102],
        [101, 50, 3, 4, 5, 102],
        [101, 50, 4, 5, 6, 102],
        [101, 50, 0, 1, 102],
    ]
    np.testing.assert_array_equal(counts, [3, 1])
    assert [len(p) for p in ParallelWindows().cut([np.arange(7)], 5)[0]] == [5, 5]


def test_the_mean_comes_before_the_length_is_made_one_and_the_order_of_windows_is_nothing():
    z = np.array([[3.0, 0.0], [0.0, 1.0], [5.0, 5.0]], np.float32)
    joined = ParallelWindows().join(z, np.array([2, 1]))
    np.testing.assert_array_equal(joined, [[1.5, 0.5], [5, 5]])
    np.testing.assert_array_equal(ParallelWindows().join(z[[1, 0, 2]], np.array([2, 1])), joined)
    assert ParallelWindows().join(z[:0], np.zeros(0, int)).shape == (0, 2)


def test_the_nearest_windows_make_the_similarity():
    z = np.array([[3.0, 0.0], [0.0, 1.0], [5.0, 5.0]], np.float32)
    texts = ParallelWindows(reduce="max").join(z, np.array([2, 1]))
    assert [t.shape for t in texts] == [(2, 2), (1, 2)]
    queries = np.array([[0.0, 2.0], [1.0, 1.0]], np.float32)
    h = 0.5**0.5
    np.testing.assert_allclose(nearest(queries, texts), [[1, h], [h, 1]], rtol=1e-6)
    np.testing.assert_allclose(nearest(texts, texts), [[1, h], [h, 1]], rtol=1e-6)
    assert nearest([], texts).shape == (0, 2)


@pytest.mark.parametrize(
    ("fields", "window", "before", "message"),
    [
        ({}, None, [], "original=None takes the length of the model's window, and it takes any"),
        ({"original": 9}, 8, [], "original=9 is more than the 8 tokens that the model takes"),
        ({}, 3, [1, 2, 3], "a window of 3 tokens has no room for text beside the 3 of the prompt"),
    ],
)
def test_windows_that_cannot_be(fields, window, before, message):
    with pytest.raises(ConfigError, match=message):
        ParallelWindows(**fields).cut([np.arange(4)], window, before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"reduce": "sum"}, "ParallelWindows.reduce='sum'; valid: max, mean"), ({"original": 0}, "original=0 must be at least 1")],
)
def test_bad_fields(fields, message):
    with pytest.raises(ConfigError, match=message):
        ParallelWindows(**fields)

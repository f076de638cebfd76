"""Filters of tags, by hand."""

import dataclasses

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.exact import Exact
from jaxemb.index.filters import AllOf, Contains, Equals, OneOf, Range
from jaxemb.index.tags import appended, column, columns
from jaxemb.preprocess.base import DataError

TAGS = {
    "year": [1990, 1995, 2000, 1995],
    "language": ["de", "en", "de", "fr"],
    "authors": [{"a", "b"}, {"b"}, set(), {"c", "b", "a"}],
    "bits": np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 1]], bool),
}


@pytest.mark.parametrize(
    ("filter", "rows"),
    [
        (Equals("year", 1995), [1, 3]),
        (Equals("language", "de"), [0, 2]),
        (Equals("language", "nl"), []),
        (OneOf("language", ("en", "fr", "nl")), [1, 3]),
        (OneOf("year", ()), []),
        (Range("year", 1990, 1995), [0, 1, 3]),
        (Range("year", high=1994), [0]),
        (Range("year"), [0, 1, 2, 3]),
        (Range("year", 1995, 1990), []),
        (Range("language", "e", "en"), [1]),
        (Contains("authors", "a"), [0, 3]),
        (Contains("authors", "x"), []),
        (Contains("bits", 2), [0, 1, 2, 3]),
        (Equals("year", 1995) & ~Contains("authors", "a") | Equals("year", 2000), [1, 2]),
    ],
)
def test_rows_that_pass(filter, rows):
    tags = columns(TAGS, 4)
    np.testing.assert_array_equal(np.flatnonzero(filter.passes(tags)), rows)
    order = np.array([3, 0, 2])
    some = {name: c.take(order) for name, c in tags.items()}
    np.testing.assert_array_equal(filter.passes(some), filter.passes(tags)[order])
    twice = filter.passes(appended(tags, some))
    np.testing.assert_array_equal(twice, np.concatenate([filter.passes(tags), filter.passes(some)]))


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        (Equals("yaer", 1), "no tag 'yaer'; did you mean 'year'"),
        (Equals("year", "1995"), "numbers, and '1995' is none"),
        (Range("language", 3), "names, and 3 is none"),
        (Equals("authors", "a"), "'authors' has sets of names: Contains"),
        (Contains("year", 1995), "'year' has numbers: Equals, OneOf or Range"),
        (AllOf(()), "no filters"),
    ],
)
def test_what_no_tag_can_answer(filter, says):
    with pytest.raises(ConfigError, match=says):
        filter.passes(columns(TAGS, 4))


@pytest.mark.parametrize(
    ("filter", "values", "says"),
    [
        (Equals, ("year", None), "Equals: the tag 'year' .* None is neither"),
        (OneOf, ("year", (1990, None)), "OneOf: .* None is neither"),
        (Contains, ("authors", None), "Contains: .* None is neither"),
        (OneOf, ("language", "de"), r"one of some values, \('de',\)"),
    ],
)
def test_values_that_would_let_other_rows_pass(filter, values, says):
    made = object.__new__(filter)  # as outside of tests, where no types are checked
    for field, value in zip(dataclasses.fields(filter), values, strict=True):
        object.__setattr__(made, field.name, value)
    with pytest.raises(ConfigError, match=says):
        made.__post_init__()


def test_a_row_with_an_empty_set_may_follow():
    tags = columns(TAGS, 4)
    more = appended(tags, columns({**{name: v[:1] for name, v in TAGS.items()}, "authors": [set()]}, 1))
    np.testing.assert_array_equal(np.flatnonzero(Contains("authors", "b").passes(more)), [0, 1, 3])
    first = appended(columns({"authors": [[]]}, 1), columns({"authors": [["b"], []]}, 2))
    np.testing.assert_array_equal(Contains("authors", "b").passes(first), [False, True, False])
    with pytest.raises(DataError, match="sets of names, and of the rows to be added sets of numbers"):
        appended(columns({"authors": [["b"]]}, 1), columns({"authors": [[1]]}, 1))


def test_many_names_are_kept_apart():
    names = [f"{i:03}" for i in range(257)]
    assert column("name", names).given() == names


@pytest.mark.parametrize(
    ("tags", "error", "says"),
    [
        ({"year": [1]}, DataError, "1 values, and there are 4 rows"),
        ({"year": [1, "a", 2, 3]}, DataError, "names and numbers"),
        ({"year": [None, 1, 2, 3]}, DataError, "a number or name a row"),
        ({"set": [{1}, 2, 3, 4]}, DataError, "sets and single values"),
        ([1, 2, 3, 4], ConfigError, "by name"),
    ],
)
def test_values_that_are_no_tags(tags, error, says):
    with pytest.raises(error, match=says):
        columns(tags, 4)


def test_a_search_by_tags_also_after_rows_have_gone_and_come():
    x = np.eye(4, dtype=np.float32) + np.float32(0.1)
    built = Exact().build(x, TAGS)
    found = built.search(x[[0, 0]], 3, Equals("language", "de"))
    np.testing.assert_array_equal(found.ids, [[0, 2, -1], [0, 2, -1]])
    found = built.search(x[:2], 1, [Equals("language", "de"), Equals("year", 1995)])
    np.testing.assert_array_equal(found.ids, [[0], [1]])
    other = built.remove([0]).add(x[:1], {**{name: v[:1] for name, v in TAGS.items()}, "language": ["nl"]})
    np.testing.assert_array_equal(other.search(x[:1], 3, OneOf("language", ("nl", "de"))).ids, [[4, 2, -1]])
    with pytest.raises(ConfigError, match="2 filters for 1 queries"):
        built.search(x[:1], 3, [Range("year")] * 2)
    with pytest.raises(ConfigError, match=r"\(4,\) or \(1, 4\)"):
        built.search(x[:1], 3, np.ones(3, bool))
    with pytest.raises(DataError, match="to be added none"):
        built.add(x)
    with pytest.raises(ConfigError, match="no tag 'year'"):
        Exact().build(x).search(x, 1, Equals("year", 1))

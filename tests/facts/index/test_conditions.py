"""Filters as they are written on a command line."""

import numpy as np
import pytest

from jaxemb.config import ConfigError
from jaxemb.index.conditions import all_of, condition
from jaxemb.index.tags import columns

TAGS = columns(
    {"year": [1990, 1995, np.nan, 2000], "language": ["de", "en", "de", ""], "topics": [["a", "b"], ["b"], [], ["a"]]}, 4
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("year=1995", [1]),
        ("year == 1995", [1]),
        ("year!=1995", [0, 2, 3]),
        ("year>=1995", [1, 3]),
        ("year>1995", [3]),
        ("year<=1995.0", [0, 1]),
        (" year < 1995 ", [0]),
        ("language=de", [0, 2]),
        ("language>de", [1]),
        ("language=", [3]),
        ("topics=a", [0, 3]),
        ("topics!=a", [1, 2]),
    ],
)
def test_conditions(text, rows):
    assert np.flatnonzero(condition(text, TAGS).passes(TAGS)).tolist() == rows


def test_values_that_are_no_tag_say_why():
    others = {"mixed": "the values are numbers and texts"}
    with pytest.raises(ConfigError, match="'mixed' is no tag: the values are numbers and texts; valid: language, topics, year"):
        all_of(["mixed=1"], TAGS, others)
    with pytest.raises(ConfigError, match="no tag 'mxed'"):
        all_of(["mxed=1"], TAGS, others)


def test_several_are_all_met_and_none_is_no_filter():
    both = all_of(["year>1990", "topics=a"], TAGS)
    assert both is not None and np.flatnonzero(both.passes(TAGS)).tolist() == [3]
    assert all_of([], TAGS) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("year", "'year' is no condition: write tag=value"),
        ("=3", "'=3' is no condition"),
        ("yeer=3", "no tag 'yeer'; did you mean 'year'"),
        ("year=nan", "has numbers, and 'nan' is none"),
        ("topics<a", "'topics' has sets of names: ask for = or !="),
    ],
)
def test_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        condition(text, TAGS)

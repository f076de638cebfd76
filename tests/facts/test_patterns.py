"""Regular expressions of configs: those that could run for ever are refused, those that experiments use are not."""

import re
import time

import pytest

from jaxemb.patterns import PatternError, check

PATH = "objective/encoder/blocks/block_11/attention/out/kernel/" * 3


@pytest.mark.parametrize(
    "regex",
    [
        ".*",
        "(qkv|mlp_up)/kernel",
        "(out|mlp_down)/kernel",
        r"block_\d+/.*/kernel",
        "^encoder",
        "a{2,3}b?",
        "(?:ab)+",
        "[a-z_]+$",
        "",
    ],
)
def test_what_experiments_write_passes(regex):
    assert check(regex) == regex


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("(.|.)*!", "a choice inside of a repeat"),
        ("(a+)+!", "a repeat inside of a repeat"),
        ("(a|aa)+$", "a choice inside of a repeat"),
        ("((a{1,30})b?){1,30}!", "a repeat inside of a repeat"),
        ("(?=(a+)+!)", "a repeat inside of a repeat"),
        (r"(.)(\1)*", "a choice inside of a repeat"),
        (".*.*.*.*!", "more than 3 repeats"),
        ("(", "is no regular expression"),
        ("a{99999999999}", "is no regular expression"),
        ("[[a]]", "is no regular expression"),
        ("(" * 200, "is no regular expression"),
        ("x" * 301, "301 characters"),
    ],
)
def test_what_could_run_for_ever_is_refused(regex, message):
    with pytest.raises(PatternError, match=message):
        check(regex)


@pytest.mark.parametrize("regex", [".*.*.*!", r"(\w+)/(\w+)/(\w+)!", "[a-z/]*[a-z/]*[a-z/]*!"])
def test_what_passes_ends(regex):
    """The worst that is taken, on a path of the usual length that it does not match."""
    began = time.perf_counter()
    assert not re.search(check(regex), PATH)
    assert time.perf_counter() - began < 5

import numpy as np
import pytest

from jaxemb.preprocess.python_tokens import joined
from jaxemb.preprocess.variable_misuse import function, functions, lines_of, misuse

SOURCE = '''
class A:
    def ünder(self, first, second=1):
        """First."""
        é = first + self.second
        return é * second


def g(x):
    return [y for y in x]
'''


def test_functions_and_methods_at_the_left_margin():
    found = sorted(functions(SOURCE))
    assert found[0].startswith("def g(x):\n    return") and found[1].startswith("def ünder(self")
    assert list(functions("def broken(:")) == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_where_those_of_python_do(end):
    """Form feeds, U+2028 and other ends of `str.splitlines` are none: a function kept its last line."""
    source = end.join(["x = 1", "\x0c", "def f(a, b):", '    c = "\u2028\x85\x1c" + a', "    return a + b + c", "y = 2"])
    (found,) = functions(source)
    assert found == end.join(source.split(end)[2:5]) + end
    of = function(found.replace(end, "\n"))
    assert [of.variables[at] for at in of.uses] == ["a", "a", "b", "c"]
    assert lines_of(source)[-1] == "y = 2" and "".join(lines_of(source)) == source


def test_variables_and_their_uses_are_found_by_name_and_place():
    of = function(sorted(functions(SOURCE))[1])
    names = [joined(of.words[at]) for at in of.variables]
    assert names == list(of.variables.values()) == ["self", "first", "second", "é", "first", "self", "é", "second"]
    assert [of.variables[at] for at in of.uses] == ["first", "self", "é", "second"]  # attributes and definitions are none


def test_one_use_is_another_variable_and_the_rest_is_as_it_was():
    of = function(sorted(functions(SOURCE))[1])
    for seed in range(20):
        bug, clean = misuse(of, np.random.default_rng(seed))
        assert clean.words == of.words and (clean.error, clean.repairs) == (-1, ())
        assert [i for i, (a, b) in enumerate(zip(bug.words, clean.words, strict=True)) if a != b] == [bug.error]
        right, wrong = joined(clean.words[bug.error]), joined(bug.words[bug.error])
        assert bug.error in of.uses and wrong in set(of.variables.values()) - {right}
        assert bug.repairs and {joined(bug.words[at]) for at in bug.repairs} == {right} and bug.error not in bug.repairs
        assert {bug.error, *bug.repairs} <= set(bug.candidates)


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "def f(a):\n    return lambda a: a",
        "def f(a, b):\n    return f'{a} {b}' + b",
        "def f(a):\n  return a\n b",
    ],
)
def test_what_has_scopes_within_or_names_in_strings_is_left_out(source):
    """The names in f-strings are parts of a word, where no pointer can go."""
    assert function(source) is None


def test_a_function_of_one_variable_has_no_misuse():
    assert misuse(function("def f(a):\n    return a"), np.random.default_rng(0)) is None

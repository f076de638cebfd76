import numpy as np
import pytest

from experiments.text import cubert
from experiments.text.cubert import LENGTH, bags, classified, documented, lines, pointed, row, swapped
from experiments.text.lab import CLS, SEP, learn
from jaxemb.preprocess.python_tokens import python_words
from jaxemb.preprocess.variable_misuse import function, misuse

SOURCE = "def f(first, second):\n    third = first - second\n    return third % second\n"


@pytest.fixture(scope="module")
def tokenizer():
    return learn([[p for word in python_words(SOURCE) for p in word]] * 3, 400)


def test_swapped_operands_have_the_same_bag_and_another_order(tokenizer):
    pairs = [swapped(SOURCE, np.random.default_rng(seed)) for seed in range(4)]
    arrays = classified([row(tokenizer, words) for pair in pairs for words in pair], [1, 0] * 4)
    found = bags(arrays, tokenizer.get_vocab_size())
    np.testing.assert_array_equal(found[::2], found[1::2])
    assert (arrays["tokens"][::2] != arrays["tokens"][1::2]).any(1).all()
    assert swapped("def f(a, b):\n    return a + b\n", np.random.default_rng(0)) is None  # changes nothing
    assert swapped("def f(a):\n    return a - a\n", np.random.default_rng(0)) is None


def test_pointers_stand_at_the_first_piece_of_a_variable(tokenizer):
    of = function(SOURCE)
    bug, clean = misuse(of, np.random.default_rng(0))
    arrays = pointed(tokenizer, [bug, clean])
    for i, x in enumerate((bug, clean)):
        tokens, _, numbers = row(tokenizer, x.words)
        assert arrays["tokens"][i, : len(tokens)].tolist() == tokens and arrays["candidates"][i, 0]
        assert [numbers[at] for at in np.flatnonzero(arrays["candidates"][i])[1:]] == list(x.candidates)
        assert [numbers[at] for at in np.flatnonzero(arrays["repairs"][i])] == list(x.repairs)
    assert row(tokenizer, bug.words)[2][arrays["error"][0]] == bug.error and arrays["error"][1] == 0


def test_rows_hold_whole_lines_and_pairs_have_two_types(tokenizer):
    words = python_words(SOURCE * 9)
    arrays = lines(tokenizer, [words])
    assert (arrays["tokens"][:, 0] == CLS).all() and arrays["tokens"].shape[1] == LENGTH
    last = arrays["mask"].sum(1) - 1
    assert (arrays["tokens"][np.arange(len(last)), last] == SEP).all()
    ids, types, _ = row(tokenizer, python_words("'a docstring'")[:1], words)
    assert len(ids) == len(types) == LENGTH and ids.count(SEP) == 2 and types[ids.index(SEP) + 1] == 1


def test_docstrings_and_their_functions():
    assert documented('def f(a):\n    """Says a.\n\n    More."""\n    return a') == ("Says a.", "def f(a):\n    return a")
    assert documented("def f(a):\n    return a") is None


def test_sources_are_functions_of_the_library():
    found = cubert.sources(30)
    assert found and all(f.startswith(("def ", "async def ", "@")) for _, own in found for f in own)

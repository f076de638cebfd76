from pathlib import Path

import pytest

from jaxemb.preprocess import python_lexer
from jaxemb.preprocess.python_lexer import lexemes
from jaxemb.preprocess.python_tokens import MARKERS, joined, pieces_of, python_tokens


@pytest.mark.parametrize(
    ("code", "pieces"),
    [
        ("", ["___EOS___"]),
        ("x = 1", ["x", "=", "1", "___EOS___"]),
        ("z = a ^ b", ["z", "=", "a", "___CARET___", "b", "___EOS___"]),
        ("fooBarBaz_qux", ["foo^", "Bar^", "Baz_^", "qux", "___EOS___"]),
        ("__init__", ["__^", "init__", "___EOS___"]),
        ("_private__x", ["_^", "private__^", "x", "___EOS___"]),
        ("XMLHttpRequest", ["XML^", "Http^", "Request", "___EOS___"]),
        ("def broken(:", ["___ERROR___", "___EOS___"]),
        ("'WORLDname'", ["'^", "WORL^", "Dname^", "'", "___EOS___"]),
        ("f'{aB}'", ["f^", "'{^", "a^", "B^", "}'", "___EOS___"]),
    ],
)
def test_facts_of_the_paper(code, pieces):
    assert python_tokens(code) == pieces


def test_long_words_are_cut():
    assert [len(p.rstrip("^")) for p in python_tokens("a" * 41)[:-1]] == [15, 15, 11]


def test_comments_are_left_out_unless_asked_for():
    assert python_tokens("x # aB") == ["x", "___EOS___"]
    assert python_tokens("x # aB", comments=True) == ["x", "#^", " ^", "a^", "B", "___EOS___"]


def test_joining_the_pieces_gives_the_tokens_again():
    """And no piece but a marker has "^" anywhere but at its end."""
    for lexeme in lexemes(Path(python_lexer.__file__).read_text()):
        pieces = pieces_of(lexeme)
        assert not any("^" in piece[:-1] for piece in pieces)
        if lexeme.kind not in (*MARKERS, "indent"):
            assert joined(pieces) == lexeme.text

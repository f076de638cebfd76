import io
import keyword
import tokenize
from pathlib import Path

import pytest

from jaxemb.preprocess import python_lexer, variable_misuse
from jaxemb.preprocess.python_lexer import LexError, lexemes

SNIPPETS = (
    "x = 0x_ff + 0b1 + 0o7 + 1_0.5e-3j + .5 + 1. + 1e5j + 00\n",
    "if a:\n\tif b :\n\t\tpass\n\n# c\n\telse_ = 1 \\\n\t\t+ 2\n",
    's = rb\'\\\'\' + u"a\\\nb" + \'\'\'x\n\'y\'\'\' + Rb"""\\""""""\n',
    "f(a,\n  # in brackets\n\n  b)[...] @= c -> d := e != ~f // g ** h\n",
    "@d\nclass A:\n  x: int = 1;\n  def f(self): return lambda: 0\ny\n",
)


def standard(code):
    kinds = {"NAME", "NUMBER", "STRING", "OP", "COMMENT", "NEWLINE", "NL", "INDENT", "DEDENT", "ENDMARKER"}
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        kind = tokenize.tok_name[token.type]
        assert kind in kinds
        word = kind == "NAME" and keyword.iskeyword(token.string)
        yield {"ENDMARKER": "end"}.get(kind, "keyword" if word else kind.lower()), token.string


@pytest.mark.parametrize("code", [*SNIPPETS, Path(variable_misuse.__file__).read_text().split('"""', 2)[2]], ids=range(6))
def test_the_tokens_are_those_of_the_standard_library(code):
    """Whose versions agree where there are no f-strings."""
    for text in (code, code.rstrip()):
        assert [(x.kind, x.text) for x in lexemes(text)] == list(standard(text))


def test_each_token_stands_where_it_says():
    code = Path(python_lexer.__file__).read_text()
    assert all(code[x.start : x.start + len(x.text)] == x.text for x in lexemes(code))


def test_an_f_string_is_one_string_under_every_version():
    assert [x.text for x in lexemes("x = f'{a!r:>{w}} {{b}}' rF'''\n{c}'''")][2:4] == ["f'{a!r:>{w}} {{b}}'", "rF'''\n{c}'''"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = (\n", "ends inside brackets"),
        ("x = 1 \\\n", "ends inside brackets or after a backslash"),
        ("x = (]\n", "line 1: ']' closes no bracket"),
        ("x\n)\n", "line 2: '\\)' closes no bracket"),
        ("x = 'a\n'\n", 'line 1: "\'" begins no token'),
        ("x = '''a\n", 'line 1: "\'" begins no token'),
        ("x = rb'a\n", "line 1: 'r' begins no token"),
        ("x = a ? b\n", "line 1: '\\?' begins no token"),
        ("if x:\n    y\n  z\n", "line 3: unindent matches no outer level"),
    ],
)
def test_what_is_no_python_is_refused_with_its_line(code, message):
    with pytest.raises(LexError, match=message):
        list(lexemes(code))

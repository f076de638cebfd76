"""What the command line prints, as it arrives in a file."""

import pytest

from jaxemb.log.table import WIDE, error, number, say, size, table


@pytest.mark.parametrize("x, text", [(0.41234567, "0.4123"), (3.0, "3"), (12345.6, "1.235e+04"), (float("nan"), "nan")])
def test_a_number_has_four_digits(x, text):
    assert number(x) == text


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1 k"),
        (1_234_567, "1.23 M"),
        (999_000, "999 k"),
        (999_499, "999 k"),
        (999_999, "1 M"),  # not 1e+03 k
        (999.7, "1 k"),
        (5e9, "5 G"),
        (2.5e12, "2.5 T"),
    ],
)
def test_a_size_has_three_digits_and_a_unit(count, text):
    assert size(count) == text


def test_an_error_is_one_line_on_standard_error(capsys):
    text = f"[bold]{'x' * 300} there is no field 'a'; valid: b, c"
    error(text)
    said = capsys.readouterr()
    assert said.out == "" and said.err == f"error: {text}\n"


def test_text_is_said_as_it_is_however_long(capsys):
    text = "[red]" + "long " * 100 + "x"
    say(text)
    assert capsys.readouterr().out == text + "\n"


def test_columns_of_numbers_are_aligned_to_the_right(capsys):
    table(("name", ">value"), [("a", 0.5), ("long name", 12.345678), ("[b]", "")], title="figures")
    said = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert said == ["figures", "name        value", "a             0.5", "long name   12.35", "[b]"]


def test_nothing_is_cut_off_in_a_file(capsys):
    words = " ".join(f"word{i}" for i in range(100))
    table(("name", "what"), [("a", words)])
    out = capsys.readouterr().out
    assert " ".join(out.split()).removeprefix("name what a ") == words
    assert max(map(len, out.splitlines())) <= WIDE


def test_long_names_of_columns_are_broken_before_names_of_rows_and_numbers_are(capsys):
    table(
        ("figure", *(f">experiment_{i} of some length, step 3000" for i in range(8))),
        [("dense/knn_top1", *["0.1422 ± 0.0048"] * 8)],
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split("   ")[0] == "dense/knn_top1" and lines[-1].count("0.1422 ± 0.0048") == 8
    assert max(map(len, lines)) <= WIDE

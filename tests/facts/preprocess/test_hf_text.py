"""Texts through a pretrained tokenizer: cut on the right with the special tokens kept, padded on either side, prompts counted."""

import dataclasses
import logging

import numpy as np
import pytest
from pretrained import tokenizer

from jaxemb.config import ConfigError, from_json, to_json
from jaxemb.preprocess.base import DataError, Preprocess
from jaxemb.preprocess.hf_text import PretrainedText, special_tokens

PRE = PretrainedText(length=8, learned=tokenizer())
CLS, SEP, THE, CAT, SAT = 2, 3, 4, 5, 6


def test_special_tokens_go_around_and_survive_the_cut():
    """Truncation and padding that are written in the file do nothing; the length counts the special tokens."""
    arrays = PRE(["the cat", "the cat sat on the mat the cat sat", ""])
    assert arrays["tokens"].tolist() == [
        [CLS, THE, CAT, SEP, 0, 0, 0, 0],
        [CLS, THE, CAT, SAT, 7, THE, 8, SEP],
        [CLS, SEP, 0, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(arrays["mask"].sum(1), [4, 8, 2])
    assert set(arrays) == {"tokens", "mask"}


@pytest.mark.parametrize("before, after", [(True, True), (True, False), (False, True), (False, False)])
def test_which_tokens_are_around_is_found_out(before, after):
    content = tokenizer(before=before, after=after)
    assert special_tokens(content) == ((CLS,) * before, (SEP,) * after, frozenset(range(4)))
    arrays = PretrainedText(length=4, learned=content)(["the cat sat the cat", ""])
    assert arrays["mask"].sum(1).tolist() == [4, before + after]
    assert arrays["tokens"][0].tolist() == [*[CLS] * before, *([THE, CAT, SAT, THE][: 4 - before - after]), *[SEP] * after]


def test_padding_on_the_left_is_the_same_row_moved():
    texts = ["the cat", "", "the cat sat on the mat"]
    left = dataclasses.replace(PRE, side="left", pad=1)(texts)
    right = dataclasses.replace(PRE, pad=1)(texts)
    for side in (left, right):
        np.testing.assert_array_equal(side["tokens"][~side["mask"]], 1)
    for a, b, m, n in zip(left["tokens"], right["tokens"], left["mask"], right["mask"], strict=True):
        np.testing.assert_array_equal(a[m], b[n])
        np.testing.assert_array_equal(m, n[::-1])


def test_what_is_cut_off_is_counted_and_said_once(caplog):
    cut = PRE.cut(["the cat", "the " * 20], prompt="a ")
    assert cut.lengths.tolist() == [3, 6] and cut.lost.tolist() == [0, 15]
    with caplog.at_level(logging.WARNING, "jaxemb"):
        for _ in range(3):
            PRE(["the " * 31])
    assert [r.getMessage() for r in caplog.records] == [
        "a text of 33 tokens was cut: this model takes 8 tokens, and its vector knows nothing of the rest"
    ]
    with pytest.raises(DataError, match="row 1 has 22 tokens, more than length=8, and strict=True refuses to cut it"):
        dataclasses.replace(PRE, strict=True)(["the", "the " * 20])


def test_a_prompt_is_plain_text_and_may_be_left_out_of_the_pooling():
    out = dataclasses.replace(PRE, prompts={"query": "query: "}, include_prompt=False)
    arrays = out(["the cat"], "query")
    assert arrays["tokens"][0].tolist() == [CLS, 11, 12, THE, CAT, SEP, 0, 0]
    assert arrays["pooled"][0].tolist() == [False] * 3 + [True] * 3 + [False] * 2  # [CLS] goes with the prompt
    assert out.prompt_length("query: ") == 3 and out.prompt_length("") == 0
    assert "pooled" not in out(["the cat"]) and "pooled" not in dataclasses.replace(out, include_prompt=True)(["a"], "query")
    assert out(["the cat"], "query", prompt="")["mask"].sum() == 4  # said is said, also nothing
    left = dataclasses.replace(out, side="left")(["the cat"], "query")
    assert left["pooled"][0].tolist() == [False] * 5 + [True] * 3
    open_end = dataclasses.replace(out, learned=tokenizer(after=False))
    assert (
        open_end.prompt_length("query: ") == 3 and open_end.prompt_length("query [SEP]") == 2
    )  # a special token at the end is not


def test_lower_case_and_spaces():
    assert PRE(["THE"])["tokens"][0, 1] == 1
    assert dataclasses.replace(PRE, lower=True)(["THE"])["tokens"][0, 1] == THE


def test_few_lengths_are_compiled():
    long = dataclasses.replace(PRE, length=1000)
    lengths = sorted({long.bucket(n) for n in range(1, 1001)})
    assert lengths[:9] == [8, 16, 24, 32, 40, 48, 56, 64, 80] and lengths[-3:] == [768, 896, 1000] and len(lengths) == 24
    assert all(n <= long.bucket(n) <= max(8, 1.25 * n + 8) for n in range(1, 1001))
    assert dataclasses.replace(long, full=True).bucket(3) == 1000
    least = dataclasses.replace(long, shortest=32)
    assert {least.bucket(n) for n in range(1, 33)} == {32} and least.bucket(33) == long.bucket(33)


def test_full_rows_hide_nothing():
    arrays = dataclasses.replace(PRE, full=True)(["the"])
    assert arrays["tokens"].shape == (1, 8) and arrays["mask"].all()


def test_arrays_of_strings_are_texts():
    for texts in (np.array(["the cat"]), np.array(["the cat"], object), [np.str_("the cat")], ("the cat",)):
        assert PRE(texts)["tokens"][0].tolist() == [CLS, THE, CAT, SEP, 0, 0, 0, 0]


def test_saved_and_read_again_with_its_tokenizer(tmp_path):
    pre = dataclasses.replace(PRE, side="left", prompts={"query": "query: "}, include_prompt=False)
    pre.save(tmp_path)
    again = Preprocess.load(tmp_path)
    assert again == pre and from_json(to_json(pre.stateless())) == pre.stateless()
    with pytest.raises(DataError, match="saved without its tokenizer: tokenizer.json is missing"):
        pre.stateless()(["the"])
    with pytest.raises(DataError, match="saved without its tokenizer"):
        pre.with_state({})


def test_lines_of_a_file(tmp_path):
    """Each line is a row, so that rows can be told by their number."""
    file = tmp_path / "a.txt"
    for text in ("the cat\n\n sat\u2028on ", "the cat\r\n\r\n sat\u2028on \r\n"):
        file.write_bytes(text.encode())
        assert PRE.read(file) == (["the cat", "", " sat\u2028on "], [])
    file.write_bytes(b"a\nb\n\xff\n")
    with pytest.raises(DataError, match="a.txt, line 3: this is no UTF-8"):
        PRE.read(file)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="has no line"):
        PRE.read(file)
    with pytest.raises(DataError, match="there is no file"):
        PRE.read(tmp_path / "b.txt")


@pytest.mark.parametrize(
    "texts, message",
    [
        (["a", None], "row 1 is None; a text is a string"),
        (["a", 3], r"row 1 is a int \('3'\)"),
        ([b"a"], "row 0 is a bytes"),
        ([("a", "b")], "row 0 is a tuple"),
        (["a", "b", "cut \ud83d off"], r"row 2 has half of a surrogate pair \(U\+D83D\) at character 4"),
    ],
)
def test_what_is_no_text_is_named_with_its_row(texts, message):
    with pytest.raises(DataError, match=message):
        PRE(texts)


def test_ids_beyond_the_table_are_named():
    with pytest.raises(DataError, match="gives row 1 the id 9, but the model's table has 9 rows"):
        dataclasses.replace(PRE, vocabulary=9)(["the cat", "mat dog ran"])


def test_fields_that_cannot_be():
    with pytest.raises(ConfigError, match="length=2 leaves no room for text beside 2 special tokens"):
        dataclasses.replace(PRE, length=2)
    with pytest.raises(ConfigError, match="PretrainedText.side='middle'.*valid: left, right"):
        dataclasses.replace(PRE, side="middle")
    with pytest.raises(DataError, match="this is no tokenizer.json"):
        PretrainedText(length=8, learned="{}")(["a"])

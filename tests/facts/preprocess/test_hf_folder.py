"""How long texts may be, what padding is and where it goes, and what a folder without a tokenizer.json lacks."""

import json

import pytest
from pretrained import SPECIAL, WORDS, tokenizer, write_json

from jaxemb.config import ConfigError
from jaxemb.preprocess.base import DataError
from jaxemb.preprocess.hf_folder import read_text_preprocess, tokenizer_folder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text(tokenizer())
    return tmp_path


@pytest.mark.parametrize(
    "own, stated, asked, window, length",
    [
        (24, None, None, 40, 24),  # the tokenizer's word
        (24, 30, None, 40, 30),  # sentence-transformers' file goes before it
        (24, 30, 12, 40, 12),  # the user's before both
        (512, None, None, 40, 40),  # no more than there are positions
        (24, 64, None, 40, 40),
        (10**30, None, None, 40, 40),  # "no end"
        (1e30, None, None, 40, 40),
        (None, None, None, 40, 40),
        (24, None, None, None, 24),
    ],
)
def test_how_long_a_text_may_be(folder, own, stated, asked, window, length):
    write_json(folder / "tokenizer_config.json", {} if own is None else {"model_max_length": own})
    assert read_text_preprocess(folder, window=window, stated=stated, max_length=asked).length == length


def test_longer_than_the_model_only_with_an_extension(folder):
    with pytest.raises(ConfigError, match="max_length=64: this model takes 1 to 40 tokens; `extend` reads longer texts"):
        read_text_preprocess(folder, window=40, max_length=64)
    assert read_text_preprocess(folder, window=40, max_length=64, beyond=True).length == 64
    with pytest.raises(ConfigError, match="says nowhere how many tokens a text may have; give max_length"):
        read_text_preprocess(folder, window=None)


@pytest.mark.parametrize(
    "settings, of_map, of_config, pad",
    [
        ({"pad_token": "[SEP]"}, None, 1, 3),
        ({"pad_token": {"content": "[SEP]", "lstrip": False}}, None, 1, 3),
        ({}, {"pad_token": "[CLS]"}, 1, 2),
        ({}, {"pad_token": {"content": "[CLS]"}}, 1, 2),
        ({}, None, 1, 1),
        ({}, None, None, 0),
        ({"pad_token": "<none>"}, None, 1, 1),
        ({}, None, 99, 0),  # beyond the table: never looked at
    ],
)
def test_what_padding_is(folder, settings, of_map, of_config, pad):
    write_json(folder / "tokenizer_config.json", settings)
    if of_map is not None:
        write_json(folder / "special_tokens_map.json", of_map)
    assert read_text_preprocess(folder, window=40, pad=of_config, vocabulary=16).pad == pad


def test_where_padding_goes_and_what_the_caller_adds(folder):
    write_json(folder / "tokenizer_config.json", {"padding_side": "left"})
    found = read_text_preprocess(folder, window=40, include_prompt=False, prompts={"query": "q"})
    assert (found.side, found.include_prompt, found.prompts) == ("left", False, {"query": "q"})
    write_json(folder / "tokenizer_config.json", {"truncation_side": "left"})
    with pytest.raises(ConfigError, match="truncation_side='left' is not supported; only 'right'"):
        read_text_preprocess(folder, window=40)


def test_a_vocabulary_of_word_pieces_alone(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join((*SPECIAL, *WORDS, "##s")))
    write_json(tmp_path / "tokenizer_config.json", {"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    assert read_text_preprocess(tmp_path, window=40)(["The Cats"])["tokens"][0, :6].tolist() == [2, 4, 5, 16, 3, 0]
    (tmp_path / "vocab.txt").write_text("a\nb")
    with pytest.raises(DataError, match=r"has no \[UNK\]: it is no vocabulary of word pieces"):
        read_text_preprocess(tmp_path, window=40)


def test_no_tokenizer(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(DataError, match=r"has no tokenizer.json \(it holds spiece.model\); .*AutoTokenizer.from_pretrained"):
        read_text_preprocess(tmp_path, window=40)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="tokenizer.json cannot be read"):
        read_text_preprocess(tmp_path, window=40)


@pytest.mark.parametrize("content", ["[]", "{", json.dumps({"a": 1})[:-1]])
def test_damaged_settings(folder, content):
    (folder / "tokenizer_config.json").write_text(content)
    with pytest.raises(DataError, match="tokenizer_config.json is damaged"):
        read_text_preprocess(folder, window=40)


def test_a_tokenizer_of_other_weights(folder):
    with pytest.raises(DataError, match="has 16 tokens, and the model's table has 15 rows: it belongs to other weights"):
        read_text_preprocess(folder, window=40, vocabulary=15)


def test_an_older_folder_has_its_tokenizer_in_that_of_its_first_module(tmp_path):
    assert tokenizer_folder(tmp_path) == tmp_path
    write_json(tmp_path / "modules.json", [{"path": "0_Transformer"}, {"path": "1_Pooling"}])
    assert tokenizer_folder(tmp_path) == tmp_path / "0_Transformer"
    for content, message in (
        ([{"path": "../x"}], "leads out of the folder"),
        ([], "does not say where the first module is"),
        ({"a": 1}, "does not say where the first module is"),
    ):
        write_json(tmp_path / "modules.json", content)
        with pytest.raises(DataError, match=message):
            tokenizer_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(tokenizer())
    assert tokenizer_folder(tmp_path) == tmp_path
